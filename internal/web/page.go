package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed page
var pageFiles embed.FS

// asset is one file of the page.
type asset struct {
	contentType string
	tag         string // changes with the content
	body        []byte
	zipped      []byte // nil: not worth it
}

// contentTypes by the names' ends: those of the machine may say something else.
var contentTypes = map[string]string{
	".html":  "text/html; charset=utf-8",
	".css":   "text/css; charset=utf-8",
	".js":    "text/javascript; charset=utf-8",
	".json":  "application/json",
	".svg":   "image/svg+xml",
	".png":   "image/png",
	".ico":   "image/x-icon",
	".woff2": "font/woff2",
	".txt":   "text/plain; charset=utf-8",

	".webmanifest": "application/manifest+json",
}

// loadPage reads the page's files, by the path of their URL.
func loadPage() (map[string]*asset, error) {
	all := map[string]*asset{}
	err := fs.WalkDir(pageFiles, "page", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		body, err := pageFiles.ReadFile(name)
		if err != nil {
			return err
		}
		all[strings.TrimPrefix(name, "page")], err = newAsset(name, body)
		return err
	})
	if err == nil {
		all["/"] = all["/index.html"]
	}
	return all, err
}

func newAsset(name string, body []byte) (*asset, error) {
	kind, ok := contentTypes[path.Ext(name)]
	if !ok {
		return nil, fmt.Errorf("%s: no content type is known", name)
	}
	sum := sha256.Sum256(body)
	a := &asset{contentType: kind, tag: hex.EncodeToString(sum[:12]), body: body}
	zipped, err := gzipped(body)
	if len(body) > worthCompressing && len(zipped) < len(body) {
		a.zipped = zipped
	}
	return a, err
}

// servePage sends a file of the page. Browsers ask each time whether it has changed, so that a new pooler is never seen
// with an old one's page.
func (a *api) servePage(w http.ResponseWriter, r *http.Request) {
	file := a.page[r.URL.Path]
	if file == nil || r.Method != http.MethodGet && r.Method != http.MethodHead {
		answer(w, http.StatusNotFound, "there is nothing here\n")
		return
	}
	h := w.Header()
	h.Set("Content-Type", file.contentType)
	h.Set("Cache-Control", "no-cache")
	h.Add("Vary", "Accept-Encoding")
	body, tag := file.body, file.tag
	if file.zipped != nil && takesGzip(r) {
		body, tag = file.zipped, tag+"-gzip"
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("ETag", `"`+tag+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}
