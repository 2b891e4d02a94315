// Package serve gives each client that connects a stream of its own, and protects itself from clients that do not read.
package serve

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// MostClients is how many have a stream at a time by default. Others wait.
	MostClients = 8
	// Stall is how long a client may take nothing by default.
	Stall = 30 * time.Second

	// grace is how long a client may take nothing once the server is to end, so that it gets the end of its stream.
	grace = 2 * time.Second
	// piece is how many bytes a client must take within Stall.
	piece = 32 << 10
	// retry is how long Serve waits if the system has no descriptor for a client.
	retry = 100 * time.Millisecond
)

// ErrStalled is what a stream's writer returns if the client reads nothing for too long.
var ErrStalled = errors.New("it took nothing for too long, and was dropped")

// A Server serves one listener.
type Server struct {
	// Stream writes a client's stream, and ends soon when the context does. The connection is closed when it returns. It is called by
	// a goroutine for each client.
	Stream func(ctx context.Context, client net.Addr, w io.Writer)

	Clients int           // that have a stream at a time; 0: MostClients
	Stall   time.Duration // 0: the constant
	Once    bool          // end after the first client's stream
	Endless bool          // streams end with their clients: one that has closed its side and gets nothing for Stall is taken for gone
}

// Serve accepts clients until the context ends, or with Once until the first has its stream. It closes the listener, and returns
// when no stream is being written any more.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	most := s.Clients
	if most == 0 {
		most = MostClients
	}
	places := make(chan struct{}, most)
	var streams sync.WaitGroup
	defer streams.Wait()
	for {
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		c, err := accept(ctx, l)
		if err != nil {
			_ = l.Close()
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		if s.Once {
			_ = l.Close()
			s.stream(ctx, c)
			return nil
		}
		streams.Go(func() {
			s.stream(ctx, c)
			<-places
		})
	}
}

// accept waits for a client, also while the system has no room for one.
func accept(ctx context.Context, l net.Listener) (net.Conn, error) {
	for {
		c, err := l.Accept()
		var short interface{ Temporary() bool } // which is deprecated, and says what net/http asks of it too
		if err == nil || !errors.As(err, &short) || !short.Temporary() {
			return c, err
		}
		select {
		case <-time.After(retry):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// stream serves one client.
func (s *Server) stream(ctx context.Context, c net.Conn) {
	defer c.Close()
	stall := s.Stall
	if stall == 0 {
		stall = Stall
	}
	w := &writer{c: c, stall: stall}
	ctx, gone := context.WithCancel(ctx)
	defer gone()
	defer context.AfterFunc(ctx, w.hurry)()
	if s.Endless {
		w.wrote.Store(time.Now().UnixNano())
		go func() { // ends with the connection, or some time after the client has closed it
			w.await(ctx, stall)
			gone()
		}()
	}
	s.Stream(ctx, c.RemoteAddr(), w)
}

// A writer writes to a client, as long as it reads.
type writer struct {
	c     net.Conn
	mu    sync.Mutex // guards stall, and the deadline that is made of it
	stall time.Duration
	wrote atomic.Int64 // when something was written last, in nanoseconds since 1970
}

// await returns when the client has gone. One that has closed only what it sends still reads, which can't be told from that
// but by writing.
func (w *writer) await(ctx context.Context, stall time.Duration) {
	if _, err := io.Copy(io.Discard, w.c); err != nil {
		return
	}
	for {
		left := stall - time.Since(time.Unix(0, w.wrote.Load()))
		if left <= 0 {
			return
		}
		select {
		case <-time.After(left):
		case <-ctx.Done():
			return
		}
	}
}

// hurry leaves the client less time, also for what is being written.
func (w *writer) hurry() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stall = min(w.stall, grace)
	_ = w.c.SetWriteDeadline(time.Now().Add(w.stall))
}

func (w *writer) deadline() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.c.SetWriteDeadline(time.Now().Add(w.stall))
}

// Write writes in pieces, each of which has its own time.
func (w *writer) Write(b []byte) (n int, err error) {
	for n < len(b) {
		if err := w.deadline(); err != nil {
			return n, err
		}
		m, err := w.c.Write(b[n:min(n+piece, len(b))])
		n += m
		w.wrote.Store(time.Now().UnixNano())
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = ErrStalled
		}
		if err != nil {
			return n, err
		}
	}
	return n, nil
}
