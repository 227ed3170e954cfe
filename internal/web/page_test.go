package web

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

func TestThePageIsServed(t *testing.T) {
	s := openSite(t, withSCRAM)
	index := s.send("/", "")
	if index.status != http.StatusOK || index.header.Get("Content-Type") != "text/html; charset=utf-8" || !strings.Contains(index.body, "<html") {
		t.Fatalf("%d %v %.100s", index.status, index.header, index.body)
	}
	page, err := loadPage()
	if err != nil {
		t.Fatal(err)
	}
	for path, file := range page {
		got := s.send(path, "")
		tag := got.header.Get("ETag")
		if got.status != http.StatusOK || got.body != string(file.body) || got.header.Get("Content-Type") != file.contentType || tag == "" || got.header.Get("Cache-Control") != "no-cache" {
			t.Errorf("%s: %d %v", path, got.status, got.header)
		}
		if got := s.send(path, "", header("If-None-Match", tag)); got.status != http.StatusNotModified || got.body != "" {
			t.Errorf("%s again: %d", path, got.status)
		}
		zipped := s.send(path, "", header("Accept-Encoding", "gzip"))
		if wanted := len(file.body) > worthCompressing; wanted && zipped.header.Get("ETag") == tag {
			t.Errorf("%s: compressed and not have the same tag", path)
		}
		if got := plainBody(t, zipped); got != string(file.body) {
			t.Errorf("%s compressed: %.100s", path, got)
		}
	}
	for _, path := range []string{"/nothing", "/page/index.html", "/../server.go", "/index.html/"} {
		if got := s.send(path, ""); got.status == http.StatusOK {
			t.Errorf("%s: %d", path, got.status)
		}
	}
	if got := s.send("/", "{}"); got.status != http.StatusNotFound {
		t.Errorf("posted to: %d", got.status)
	}
}

func plainBody(t *testing.T, r reply) string {
	t.Helper()
	if r.header.Get("Content-Encoding") != "gzip" {
		return r.body
	}
	z, err := gzip.NewReader(strings.NewReader(r.body))
	if err != nil {
		t.Fatal(err)
	}
	return readAll(z)
}

func TestLongAnswersAreCompressedIfTheClientTakesThat(t *testing.T) {
	s := openSite(t, withTrust)
	plain := s.send("/api/show/config", "", basic("looker", ""))
	zipped := s.send("/api/show/config", "", basic("looker", ""), header("Accept-Encoding", "br, gzip;q=0.5"))
	rows := func(body string) string { return body[strings.Index(body, `"rows"`):strings.LastIndex(body, `"time"`)] }
	if zipped.header.Get("Content-Encoding") != "gzip" || len(zipped.body) >= len(plain.body)/2 || rows(plainBody(t, zipped)) != rows(plain.body) {
		t.Errorf("%d bytes instead of %d: %v", len(zipped.body), len(plain.body), zipped.header)
	}
	if short := s.send("/api/me", "", basic("looker", ""), header("Accept-Encoding", "gzip")); short.header.Get("Content-Encoding") != "" {
		t.Errorf("a short one is compressed: %v", short.header)
	}
	for accepts, want := range map[string]bool{
		"gzip": true, "GZIP": true, "deflate, gzip": true, "*": true, "gzip; q=1.0": true,
		"": false, "identity": false, "gzip;q=0": false, "gzip; q=0.000": false, "xgzip": false, "gzip;q=x": false,
	} {
		r := &http.Request{Header: http.Header{"Accept-Encoding": {accepts}}}
		if got := takesGzip(r); got != want {
			t.Errorf("%q: %v", accepts, got)
		}
	}
}

func TestAFileOfNoKnownKindIsNoPartOfThePage(t *testing.T) {
	if _, err := newAsset("page/x.exe", nil); err == nil {
		t.Error("it is")
	}
	body := bytes.Repeat([]byte("x"), 10*worthCompressing)
	a, err := newAsset("page/x.css", body)
	if err != nil || len(a.zipped) == 0 || len(a.zipped) >= len(body) {
		t.Error(fmt.Sprint(a, err))
	}
}
