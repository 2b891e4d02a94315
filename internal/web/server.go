// Package web serves a page over directories of captures, and the API below it.
//
// It listens on loopback alone, and answers who has the token: one that is in the address that it prints, and good for one exchange. The
// page keeps what it gets for it in its tab, and sends it as a header, never as a cookie: so no other page can ask in its name. Host
// names other than those of loopback are refused, as a page of another name may have been made to point here.
//
// What is asked is answered by packages extract, index, inventory and ledger, as the commands do.
package web

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"capd/crypt"
	"capd/internal/extract"
	"capd/internal/hint"
	"capd/internal/text"
)

// A Config says what is served.
type Config struct {
	Directories []string
	Recorders   extract.Recorders
	Software    string // that answers
	Identities  crypt.Identities
	Limits      Limits

	Spell func(*extract.Question) string                            // spells a question as a command line; nil: no file says it
	Note  func(context.Context, *extract.Question, *extract.Answer) // is told who got what; may be nil
}

// A Server answers the page's questions.
type Server struct {
	config      Config
	directories []*directory
	places      places
	downloads   downloads

	mu      sync.Mutex // guards what follows
	once    [sha256.Size]byte
	used    bool // once was exchanged
	session [sha256.Size]byte
}

// New returns a server and the token that it takes once.
func New(c Config) (s *Server, token string) {
	c.Limits = c.Limits.filled()
	s = &Server{config: c, places: make(places, c.Limits.Questions), downloads: downloads{all: make(map[string]*download)}}
	for _, dir := range c.Directories {
		s.directories = append(s.directories, &directory{path: dir, turn: make(chan struct{}, 1)})
	}
	token = rand.Text()
	s.once = sha256.Sum256([]byte(token))
	return s, token
}

// Listen listens on an address of this machine alone.
func Listen(address string) (net.Listener, error) {
	at, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", text.Name(address), err)
	}
	if !at.IP.IsLoopback() {
		return nil, hint.New(fmt.Sprintf("listen on %s: other machines reach this address, and the page is for this one alone", text.Name(address)),
			"take 127.0.0.1, and let others come over ssh -L")
	}
	return net.ListenTCP("tcp", at)
}

// Serve answers until the context ends, and a little longer what is being answered then.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	h := &http.Server{
		Handler: s.Handler(), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: maxHeader, BaseContext: func(net.Listener) context.Context { return ctx },
	}
	go s.warm(ctx)
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if h.Shutdown(grace) != nil {
			_ = h.Close()
		}
	})
	err := h.Serve(&limited{Listener: l, places: make(chan struct{}, s.config.Limits.Connections)})
	if !stop() {
		<-ended
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// warm reads the directories before anybody asks.
func (s *Server) warm(ctx context.Context) { _, _ = s.looks(ctx) }

// A limited listener has so many connections at a time; others wait.
type limited struct {
	net.Listener
	places chan struct{}
}

// Accept waits for a place too.
func (l *limited) Accept() (net.Conn, error) {
	l.places <- struct{}{}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.places
		return nil, err
	}
	return &placed{Conn: c, free: sync.OnceFunc(func() { <-l.places })}, nil
}

// A placed connection has a place until it is closed.
type placed struct {
	net.Conn
	free func()
}

// Close frees the place.
func (c *placed) Close() error {
	defer c.free()
	return c.Conn.Close()
}

// A statusError is answered with a status of its own.
type statusError struct {
	status int
	error
}

func (e *statusError) Unwrap() error { return e.error }

var (
	errTime  = errors.New("it took too long")
	errBusy  = &statusError{http.StatusTooManyRequests, hint.New("too many questions are being answered", "ask again in a moment")}
	errToken = &statusError{http.StatusUnauthorized, hint.New("the token is wrong, or was used",
		"the address that capd web prints is good for one tab: reload that, or start capd web again")}
	errBody = &statusError{http.StatusRequestEntityTooLarge, errors.New("the request has a body, and none is taken")}
	errHead = &statusError{http.StatusNotFound, hint.New("a question has no head alone", "ask with GET")}
	errHost = &statusError{http.StatusForbidden, hint.New("the name of this host is not one of this machine alone", "open the page by 127.0.0.1 or localhost")}
)

// places are taken by questions that are being answered.
type places chan struct{}

func (p places) take(ctx context.Context, most time.Duration) (done func(), err error) {
	late := time.NewTimer(most)
	defer late.Stop()
	select {
	case p <- struct{}{}:
		return func() { <-p }, nil
	case <-late.C:
		return nil, errBusy
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// exchange takes the token of the address, once.
func (s *Server) exchange(token string) (session string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	given := sha256.Sum256([]byte(token))
	if s.used || subtle.ConstantTimeCompare(given[:], s.once[:]) != 1 {
		return "", errToken
	}
	session = rand.Text()
	s.used, s.session = true, sha256.Sum256([]byte(session))
	return session, nil
}

// allowed reports whether a token is that of the session.
func (s *Server) allowed(token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	given := sha256.Sum256([]byte(token))
	return s.used && subtle.ConstantTimeCompare(given[:], s.session[:]) == 1
}

// bearer returns the token of a request.
func bearer(r *http.Request) string {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return ""
	}
	return token
}

// isHere reports whether a name of a host, as a request has it, is one of this machine alone.
func isHere(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	if strings.EqualFold(name, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(name, "[]"))
	return err == nil && addr.Unmap().IsLoopback()
}

// refuse answers with an error.
func refuse(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	body := failure{Error: err.Error(), Hints: hint.Of(err)}
	var coded *statusError
	var param *paramError
	switch {
	case errors.As(err, &coded):
		status = coded.status
	case errors.As(err, &param):
		status = http.StatusBadRequest
		body.Parameter, body.Offset = param.param, param.offset
		if param.hint != "" {
			body.Hints = []string{param.hint}
		}
		if param.offset != nil {
			body.Error = param.want
		}
	case errors.As(err, new(*tooMuchError)):
		status = http.StatusRequestEntityTooLarge
	case errors.Is(err, errTime):
		status = http.StatusGatewayTimeout
	}
	if status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "2")
	}
	answer(w, status, body)
}

// A failure is the answer to a question that has none.
type failure struct {
	Error     string   `json:"error"`
	Hints     []string `json:"hints,omitempty"`
	Parameter string   `json:"parameter,omitempty"`
	Offset    *int     `json:"offset,omitempty"` // of the mistake, in bytes of the parameter
}

func answer(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(`{"error":"the answer can't be spelled"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // a client that is gone needs none
}
