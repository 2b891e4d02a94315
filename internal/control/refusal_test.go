package control

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestRefusalsAreJSON: what the socket has no handler for is answered as other errors are.
func TestRefusalsAreJSON(t *testing.T) {
	s := NewServer(&fake{}, http.NotFoundHandler())
	for request, want := range map[string]string{
		"GET /v1/nothing":       `404 no such path: "/v1/nothing"`,
		"GET /":                 `404 no such path: "/"`,
		"POST /v1/status":       `405 POST is not for "/v1/status"; GET, HEAD is`,
		"GET /v1/rotate":        `405 GET is not for "/v1/rotate"; POST is`,
		"DELETE /metrics":       `405 DELETE is not for "/metrics"; GET, HEAD is`,
		"GET /v2/<script>\x07x": `404 no such path: "/v2/<script>\ax"`,
	} {
		method, path, _ := strings.Cut(request, " ")
		r := httptest.NewRequest(method, "/", nil)
		r.URL.Path = path
		w := httptest.NewRecorder()
		s.http.Handler.ServeHTTP(w, r)
		var f failure
		if err := json.Unmarshal(w.Body.Bytes(), &f); err != nil || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s: %v, %s, %q", request, err, w.Header(), w.Body)
			continue
		}
		if got := fmt.Sprint(w.Code, " ", f.Error); got != want {
			t.Errorf("%s: %s, want %s", request, got, want)
		}
	}
	// A handler's own text stays.
	w := httptest.NewRecorder()
	s.http.Handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusNotFound || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain") {
		t.Errorf("%d %s", w.Code, w.Header())
	}
}
