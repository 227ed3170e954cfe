package web

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// worthCompressing is from how many bytes on an answer is compressed.
const worthCompressing = 1 << 10

// compressor sends an answer, compressed if it gets long and the client takes that. Its Write never fails: nobody is
// left to tell when the client has gone, and the request's context has ended then.
type compressor struct {
	w      http.ResponseWriter
	takes  bool // the client takes gzip
	held   []byte
	begun  bool
	zipped *gzip.Writer // nil: it is not compressed
}

func newCompressor(w http.ResponseWriter, r *http.Request) *compressor {
	w.Header().Add("Vary", "Accept-Encoding")
	return &compressor{w: w, takes: takesGzip(r)}
}

// Write implements io.Writer.
func (c *compressor) Write(p []byte) (int, error) {
	c.write(p)
	return len(p), nil
}

func (c *compressor) write(p []byte) {
	if !c.begun {
		if len(c.held)+len(p) <= worthCompressing {
			c.held = append(c.held, p...)
			return
		}
		c.begin()
	}
	_, _ = c.out().Write(p)
}

func (c *compressor) begin() {
	c.begun = true
	if c.takes {
		c.w.Header().Set("Content-Encoding", "gzip")
		c.zipped, _ = gzip.NewWriterLevel(c.w, gzip.BestSpeed) // fails for levels that there are not
	}
	_, _ = c.out().Write(c.held)
}

func (c *compressor) out() io.Writer {
	if c.zipped != nil {
		return c.zipped
	}
	return c.w
}

func (c *compressor) close() {
	switch {
	case !c.begun:
		c.w.Header().Set("Content-Length", strconv.Itoa(len(c.held)))
		_, _ = c.w.Write(c.held)
	case c.zipped != nil:
		_ = c.zipped.Close()
	}
}

// takesGzip tells whether the client has said so.
func takesGzip(r *http.Request) bool {
	for _, each := range strings.Split(strings.Join(r.Header.Values("Accept-Encoding"), ","), ",") {
		coding, weight, _ := strings.Cut(strings.ToLower(strings.ReplaceAll(each, " ", "")), ";")
		if coding != "gzip" && coding != "*" {
			continue
		}
		q, err := strconv.ParseFloat(strings.TrimPrefix(weight, "q="), 64)
		return weight == "" || err == nil && q > 0
	}
	return false
}

// gzipped is body compressed as far as it goes.
func gzipped(body []byte) ([]byte, error) {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := z.Write(body); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
