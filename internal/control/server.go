package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// Limits on requests.
const (
	maxBody        = 1 << 20
	maxHeader      = 16 << 10
	maxConnections = 1024
	maxLookers     = 64
	silence        = 5 * time.Second // longest time that a client may need for the head of a request
	patience       = 30 * time.Second
)

// A Backend executes the requests that arrive at the socket. Its methods may be called from any
// goroutine, and return when the context ends.
type Backend interface {
	Report() Status
	RotateFiles(ctx context.Context, iface string) ([]string, error)
	Reload(ctx context.Context) error
	Flush(ctx context.Context) ([]Whole, error)
	Extracted(ctx context.Context, e Extraction) error
	Hold(ctx context.Context, s Selection) ([]string, error)
	Release(ctx context.Context, s Selection) ([]string, error)

	// Leave prepares TakeOver or Upgrade. The recorders leave when the function that it returns is called with the client's
	// connection, which is the backend's from then on. With nil they stay.
	Leave(ctx context.Context, order string) (func(*net.UnixConn), error)
}

// A RefusedError is the answer to an invalid request.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return e.Reason }

// Refused returns a RefusedError.
func Refused(format string, args ...any) error { return &RefusedError{fmt.Sprintf(format, args...)} }

// A Server serves a Backend.
type Server struct {
	http    *http.Server
	backend Backend
	limit   connLimit

	mu      sync.Mutex
	lookers map[string]time.Time
}

// NewServer makes a server. metrics may be nil.
func NewServer(b Backend, metrics http.Handler) *Server {
	s := &Server{backend: b, lookers: make(map[string]time.Time)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", s.status)
	mux.HandleFunc("POST /v1/rotate", order(func(ctx context.Context, o RotateOrder) ([]string, error) {
		return b.RotateFiles(ctx, o.Interface)
	}))
	mux.HandleFunc("POST /v1/reload", order(func(ctx context.Context, _ struct{}) ([]string, error) { return nil, b.Reload(ctx) }))
	mux.HandleFunc("POST /v1/flush", request(func(ctx context.Context, _ struct{}) (Answer, error) {
		whole, err := b.Flush(ctx)
		return Answer{Whole: whole}, err
	}))
	mux.HandleFunc("POST /v1/extracted", order(s.extracted))
	mux.HandleFunc("POST /v1/hold", order(byClient(b.Hold)))
	mux.HandleFunc("POST /v1/release", order(byClient(b.Release)))
	for _, order := range []string{TakeOver, Upgrade} {
		mux.HandleFunc("POST /v1/"+order, s.leave(order))
	}
	if metrics != nil {
		mux.Handle("GET /metrics", metrics)
	}
	s.http = newHTTP(inJSON(mux))
	s.http.ConnState = s.limit.track
	s.http.ConnContext = withConn
	return s
}

// newHTTP returns a server with limits on what a client can use.
func newHTTP(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: silence,
		ReadTimeout:       patience,
		WriteTimeout:      2 * patience,
		IdleTimeout:       patience,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          discard(),
	}
}

// inJSON makes the answers of the mux to what it has no handler for like those of the handlers.
func inJSON(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern == "" {
			w = &refusal{ResponseWriter: w, request: r}
		}
		mux.ServeHTTP(w, r)
	})
}

// A refusal puts an error as JSON in the place of the text that is written.
type refusal struct {
	http.ResponseWriter
	request *http.Request
	written bool
}

func (f *refusal) WriteHeader(code int) {
	var reason string
	switch {
	case f.written:
		return
	case code == http.StatusNotFound:
		reason = fmt.Sprintf("no such path: %q", f.request.URL.Path)
	case code == http.StatusMethodNotAllowed:
		reason = fmt.Sprintf("%s is not for %q; %s is", f.request.Method, f.request.URL.Path, f.Header().Get("Allow"))
	default:
		f.ResponseWriter.WriteHeader(code)
		return
	}
	f.written = true
	answer(f.ResponseWriter, code, failure{reason})
}

func (f *refusal) Write(p []byte) (int, error) {
	if f.written {
		return len(p), nil
	}
	return f.ResponseWriter.Write(p)
}

// Serve answers requests until the context ends. Requests in progress may take one second longer.
func (s *Server) Serve(ctx context.Context, l net.Listener) error { return serve(ctx, s.http, l) }

// ServeMetrics answers GET /metrics, and nothing else, until the context ends.
func ServeMetrics(ctx context.Context, l net.Listener, metrics http.Handler) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics)
	h, c := newHTTP(mux), new(connLimit)
	h.ConnState = c.track
	return serve(ctx, h, l)
}

func serve(ctx context.Context, h *http.Server, l net.Listener) error {
	ended := make(chan error, 1)
	go func() { ended <- h.Serve(l) }()
	select {
	case err := <-ended:
		return fmt.Errorf("control: %w", err)
	case <-ctx.Done():
	}
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if h.Shutdown(late) != nil {
		_ = h.Close()
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("control: %w", err)
	}
	return nil
}

// status answers with the backend's report. If the request names a looker, the answer includes the
// time of that looker's previous request.
func (s *Server) status(w http.ResponseWriter, r *http.Request) {
	report := s.backend.Report()
	if name := r.URL.Query().Get("looker"); name != "" {
		report.Looked = s.look(name, report.Time)
	}
	answer(w, http.StatusOK, &report)
}

// look returns the time of the looker's previous request, and stores the new one. If there are too
// many lookers, the one with the oldest request is forgotten.
func (s *Server) look(name string, now time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, known := s.lookers[name]
	if !known && len(s.lookers) == maxLookers {
		oldest := ""
		for n, t := range s.lookers {
			if oldest == "" || t.Before(s.lookers[oldest]) {
				oldest = n
			}
		}
		delete(s.lookers, oldest)
	}
	s.lookers[name] = now
	return before
}

// order returns a handler of requests that are answered with files.
func order[T any](do func(context.Context, T) ([]string, error)) http.HandlerFunc {
	return request(func(ctx context.Context, in T) (Answer, error) {
		files, err := do(ctx, in)
		return Answer{Files: files}, err
	})
}

// request returns a handler that calls do with the request's body, decoded as JSON.
func request[T any](do func(context.Context, T) (Answer, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in T
		d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
		d.DisallowUnknownFields()
		if err := d.Decode(&in); err != nil && !errors.Is(err, io.EOF) {
			refuse(w, err)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), patience)
		defer cancel()
		a, err := do(ctx, in)
		if err != nil {
			fail(w, err)
			return
		}
		a.Files = append([]string{}, a.Files...) // never null
		answer(w, http.StatusOK, a)
	}
}

// refuse answers a request with an invalid body.
func refuse(w http.ResponseWriter, err error) {
	code := http.StatusBadRequest
	if errors.As(err, new(*http.MaxBytesError)) {
		code = http.StatusRequestEntityTooLarge
	}
	answer(w, code, failure{"request: " + err.Error()})
}

func fail(w http.ResponseWriter, err error) {
	code := http.StatusInternalServerError
	if errors.As(err, new(*RefusedError)) {
		code = http.StatusBadRequest
	}
	answer(w, code, failure{err.Error()})
}

// A failure is the answer to a failed request.
type failure struct {
	Error string `json:"error"`
}

func answer(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v) // errors mean that the client has gone
}
