package web

import (
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// TestProxy: behind a proxy that puts a path in front, what the page names is there: its files, those that these import, and the API.
func TestProxy(t *testing.T) {
	c, _ := open(t, Config{Directories: []string{office(t)}})
	to, err := url.Parse(c.at.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to) // its host too
		r.Out.URL.Path = strings.TrimPrefix(r.In.URL.Path, "/some/captures")
	}}
	mux := http.NewServeMux()
	mux.Handle("/some/captures/", proxy)
	front := httptest.NewServer(mux)
	t.Cleanup(front.Close)
	base, err := url.Parse(front.URL + "/some/captures/")
	if err != nil {
		t.Fatal(err)
	}
	get := func(method string, base *url.URL, ref string) []byte {
		t.Helper()
		at, err := base.Parse(ref)
		if err != nil {
			t.Fatal(err)
		}
		r, err := http.NewRequestWithContext(t.Context(), method, at.String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+c.token)
		resp, err := front.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Errorf("%s %s: %s, %v", method, at, resp.Status, err)
		}
		return b
	}
	page := get("GET", base, "")
	named := regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllSubmatch(page, -1)
	imports := regexp.MustCompile(`from "([^"]+)"`)
	asked := regexp.MustCompile("[\"`](v1/[a-z]+)[\"`]")
	files, questions := 0, 0
	for _, m := range named {
		files++
		get("GET", base, string(m[1]))
	}
	err = fs.WalkDir(embedded, "page", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.Contains(path, "vendor") || !strings.HasSuffix(path, ".js") {
			return err
		}
		at, err := base.Parse(strings.TrimPrefix(path, "page/"))
		if err != nil {
			return err
		}
		script := get("GET", base, at.Path)
		for _, m := range imports.FindAllSubmatch(script, -1) {
			files++
			get("GET", at, string(m[1]))
		}
		for _, m := range asked.FindAllSubmatch(script, -1) {
			questions++
			switch name := string(m[1]); name {
			case "v1/session": // is taken
			case "v1/downloads":
				get("POST", base, name)
			default:
				get("GET", base, name)
			}
		}
		return nil
	})
	if err != nil || files < 8 || questions < 6 {
		t.Errorf("%d files, %d questions; %v", files, questions, err)
	}
}
