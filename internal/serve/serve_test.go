package serve

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A pipes is a listener whose clients are pipes, so that time is that of synctest.
type pipes struct {
	clients chan net.Conn
	closed  chan struct{}
	once    sync.Once
}

func newPipes() *pipes { return &pipes{clients: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.clients:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// dial connects.
func (p *pipes) dial() net.Conn {
	here, there := net.Pipe()
	p.clients <- there
	return here
}

// TestStalled: a client that takes nothing is dropped, one that reads slowly is not, and others do not wait for either.
func TestStalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 10 * piece
		l, errs := newPipes(), make(chan error, 3)
		ctx, end := context.WithCancel(t.Context())
		s := Server{Stream: func(_ context.Context, _ net.Addr, w io.Writer) {
			_, err := io.WriteString(w, strings.Repeat("x", size))
			errs <- err
		}}
		ended := make(chan error, 1)
		go func() { ended <- s.Serve(ctx, l) }()
		stalled, slow, quick := l.dial(), l.dial(), l.dial()
		if n, err := io.Copy(io.Discard, quick); n != size || err != nil || <-errs != nil {
			t.Errorf("%d bytes, %v", n, err)
		}
		begun := time.Now()
		go func() {
			for n := 0; n < size; n += piece / 2 {
				time.Sleep(Stall / 3)
				_, _ = io.ReadFull(slow, make([]byte, piece/2))
			}
		}()
		if err := <-errs; !errors.Is(err, ErrStalled) || time.Since(begun) > Stall {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
		if n, err := io.Copy(io.Discard, stalled); n != 0 || err != nil { // it is closed
			t.Errorf("%d bytes, %v", n, err)
		}
		if err := <-errs; err != nil || time.Since(begun) < Stall {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
		end()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestPlaces: no more have a stream at a time than may, and the next one gets its place.
func TestPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, begun, rest := newPipes(), make(chan bool, 3), make(chan bool)
		ctx, end := context.WithCancel(t.Context())
		s := Server{Clients: 2, Stream: func(context.Context, net.Addr, io.Writer) {
			begun <- true
			<-rest
		}}
		ended := make(chan error, 1)
		go func() { ended <- s.Serve(ctx, l) }()
		for range 3 {
			go l.dial()
		}
		synctest.Wait()
		if n := len(begun); n != 2 {
			t.Errorf("%d have a stream", n)
		}
		rest <- true
		synctest.Wait()
		if n := len(begun); n != 3 {
			t.Errorf("%d have had a stream", n)
		}
		end()
		close(rest)
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestEnd: when the server is to end, a client that reads gets the end of its stream, and one that doesn't is waited for a moment only.
func TestEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPipes()
		ctx, end := context.WithCancel(t.Context())
		s := Server{Stream: func(ctx context.Context, _ net.Addr, w io.Writer) {
			_, _ = io.WriteString(w, "begin ")
			<-ctx.Done()
			_, _ = io.WriteString(w, "end")
		}}
		ended := make(chan error, 1)
		go func() { ended <- s.Serve(ctx, l) }()
		stalled, c := l.dial(), l.dial()
		got := make(chan string)
		go func() {
			b, _ := io.ReadAll(c)
			got <- string(b)
		}()
		synctest.Wait()
		begun := time.Now()
		end()
		if s := <-got; s != "begin end" {
			t.Errorf("%q", s)
		}
		if err := <-ended; err != nil || time.Since(begun) > 2*grace {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
		stalled.Close()
	})
}

// TestOnce: the first client has the only stream.
func TestOnce(t *testing.T) {
	l := newPipes()
	s := Server{Once: true, Stream: func(_ context.Context, _ net.Addr, w io.Writer) { _, _ = io.WriteString(w, "all") }}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(t.Context(), l) }()
	if b, err := io.ReadAll(l.dial()); string(b) != "all" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := l.Accept(); err == nil {
		t.Error("it still listens")
	}
}

// TestEndless: a client that has closed its side is taken for gone when it got nothing for some time, and one that is silent is not.
func TestEndless(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, ends := newPipes(), make(chan time.Duration, 2)
		ctx, end := context.WithCancel(t.Context())
		s := Server{Endless: true, Stream: func(ctx context.Context, _ net.Addr, _ io.Writer) {
			begun := time.Now()
			<-ctx.Done()
			ends <- time.Since(begun)
		}}
		ended := make(chan error, 1)
		go func() { ended <- s.Serve(ctx, l) }()
		silent, closed := l.dial(), l.dial()
		time.Sleep(time.Second)
		closed.Close()
		if after := <-ends; after < Stall || after > Stall+time.Second {
			t.Errorf("gone after %v", after)
		}
		time.Sleep(time.Hour)
		end()
		if after := <-ends; after < time.Hour {
			t.Errorf("the silent one was taken for gone after %v", after)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
		silent.Close()
	})
}
