package web

import (
	"context"
	"crypto/sha256"
	"embed"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"time"
)

//go:embed page/*.html page/*.js page/*.css page/*.svg page/vendor/*.js page/vendor/*.css page/vendor/LICENSE
var embedded embed.FS

// A route is a question of the API.
type route struct {
	method, path string
	takes        []string // parameters
	do           func(*Server, context.Context, *query) (any, error)
}

var (
	ofTime     = []string{"since", "until", "interface"}
	ofQuestion = append(ofTime[:3:3], "filter", "flow", "id")
)

// routes are the questions whose answers are JSON objects. docs/openapi.json has them, and those of Handler.
var routes = []route{
	{"GET", "/v1/info", nil, (*Server).info},
	{"GET", "/v1/timeline", append(ofQuestion[:6:6], "bins"), (*Server).timeline},
	{"GET", "/v1/flows", append(ofTime[:3:3], "filter", "by", "group", "offset", "limit"), (*Server).flows},
	{"GET", "/v1/packets", append(ofQuestion[:6:6], "offset", "limit", "detail"), (*Server).packets},
	{"GET", "/v1/filter", ofQuestion, (*Server).filter},
	{"GET", "/v1/files", append(ofTime[:3:3], "offset", "limit"), (*Server).files},
	{"GET", "/v1/ledger", append(ofTime[:3:3], "limit"), (*Server).lines},
	{"POST", "/v1/downloads", ofQuestion, (*Server).newDownload},
}

// A session is what the token of the address is exchanged for.
type session struct {
	Token string `json:"token"`
}

// Handler returns the page and the API.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	for _, r := range routes {
		mux.HandleFunc(r.method+" "+r.path, s.guarded(func(w http.ResponseWriter, req *http.Request) { s.ask(w, req, &r) }))
	}
	mux.HandleFunc("GET /v1/extract", s.guarded(func(w http.ResponseWriter, r *http.Request) {
		q, err := parseQuery(r.URL.RawQuery, ofQuestion)
		if err != nil {
			refuse(w, err)
			return
		}
		s.extract(w, r, &q)
	}))
	mux.HandleFunc("GET /v1/downloads/{id}", s.guarded(func(w http.ResponseWriter, r *http.Request) {
		ctx, end := context.WithTimeoutCause(r.Context(), s.config.Limits.Extraction, errTime)
		defer end()
		a, err := s.downloads.wait(ctx, r.PathValue("id"))
		s.hurry(w)
		if err != nil {
			refuse(w, err)
			return
		}
		answer(w, http.StatusOK, a)
	}))
	mux.HandleFunc("GET /v1/downloads/{id}/file", s.serveDownload)
	mux.HandleFunc("POST /v1/session", func(w http.ResponseWriter, r *http.Request) {
		token, err := s.exchange(bearer(r))
		if err != nil {
			refuse(w, err)
			return
		}
		answer(w, http.StatusOK, session{token})
	})
	mux.HandleFunc("/v1/", func(w http.ResponseWriter, r *http.Request) {
		refuse(w, &statusError{http.StatusNotFound, fmt.Errorf("%s %s: there is no such question: docs/api.md has them", r.Method, clip(r.URL.Path))})
	})
	addPage(mux)
	return s.careful(mux)
}

// guarded answers only who has the token of the session.
func (s *Server) guarded(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !s.allowed(bearer(r)) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			refuse(w, errToken)
			return
		}
		h(w, r)
	}
}

// ask answers a question, which ends when the client goes away.
func (s *Server) ask(w http.ResponseWriter, r *http.Request, to *route) {
	q, err := parseQuery(r.URL.RawQuery, to.takes)
	if err != nil {
		refuse(w, err)
		return
	}
	ctx, end := context.WithTimeoutCause(r.Context(), s.config.Limits.Time, errTime)
	defer end()
	done, err := s.places.take(ctx, s.config.Limits.Waiting)
	if err != nil {
		refuse(w, err)
		return
	}
	defer done()
	v, err := to.do(s, ctx, &q)
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	s.hurry(w)
	if err != nil {
		refuse(w, err)
		return
	}
	answer(w, http.StatusOK, v)
}

// policy lets the page have what is served with it, and nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// hurry gives a client its time to take an answer.
func (s *Server) hurry(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(s.config.Limits.Stall)) // a test's recorder has none
}

// careful is around everything.
func (s *Server) careful(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.hurry(w)
		head := w.Header()
		head.Set("Content-Security-Policy", policy)
		head.Set("X-Content-Type-Options", "nosniff")
		head.Set("Referrer-Policy", "no-referrer")
		head.Set("Cross-Origin-Opener-Policy", "same-origin")
		head.Set("Cross-Origin-Resource-Policy", "same-origin")
		head.Set("Cache-Control", "no-store")
		if !isHere(r.Host) {
			refuse(w, errHost)
			return
		}
		if site := r.Header.Get("Sec-Fetch-Site"); site == "cross-site" || site == "same-site" {
			if strings.HasPrefix(r.URL.Path, "/v1/") {
				refuse(w, &statusError{http.StatusForbidden, fmt.Errorf("another page asks, which may not")})
				return
			}
		}
		switch api := strings.HasPrefix(r.URL.Path, "/v1/"); {
		case r.ContentLength != 0: // its sender has the server's ReadTimeout for it, and is not answered again
			head.Set("Connection", "close")
			refuse(w, errBody)
		case api && r.Method == http.MethodHead: // would be asked in vain, and might be the one answer that a download has
			refuse(w, errHead)
		default:
			h.ServeHTTP(w, r)
		}
	})
}

var contentTypes = map[string]string{"html": "text/html; charset=utf-8", "js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8", "svg": "image/svg+xml"}

// addPage serves the embedded files, each under its name.
func addPage(mux *http.ServeMux) {
	page, err := fs.Sub(embedded, "page")
	if err != nil {
		panic(err) // the name is a constant
	}
	_ = fs.WalkDir(page, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(page, path)
		if err != nil {
			return err
		}
		_, ext, _ := strings.Cut(path[strings.LastIndex(path, "/")+1:], ".")
		kind := contentTypes[ext[strings.LastIndex(ext, ".")+1:]]
		if kind == "" {
			kind = "text/plain; charset=utf-8"
		}
		tag := fmt.Sprintf(`"%x"`, sha256.Sum256(b))
		pattern := "GET /" + path
		if path == "index.html" {
			pattern = "GET /{$}"
		}
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", kind)
			w.Header().Set("Cache-Control", "no-cache")
			w.Header().Set("ETag", tag)
			if r.Header.Get("If-None-Match") == tag {
				w.WriteHeader(http.StatusNotModified)
				return
			}
			_, _ = w.Write(b)
		})
		return nil
	})
}
