package control

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A fake is a backend that records its calls.
type fake struct {
	mu     sync.Mutex
	status Status
	calls  []any
	wait   chan struct{} // rotate waits until it is closed; nil: does not wait
	ended  chan error    // the result of a rotation that waited
	left   func(*net.UnixConn)
}

func (f *fake) Report() Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.status
	s.Version, s.Time = Version, time.Now()
	return s
}

func (f *fake) record(what any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, what)
}

func (f *fake) RotateFiles(ctx context.Context, iface string) ([]string, error) {
	f.record(RotateOrder{iface})
	if f.wait != nil {
		select {
		case <-f.wait:
		case <-ctx.Done():
		}
		f.ended <- ctx.Err()
	}
	if iface == "nope" {
		return nil, Refused("rotate: interface nope is not recorded")
	}
	return []string{"/d/" + iface}, nil
}

func (f *fake) Reload(context.Context) error { return errors.New("capd.toml:3: no") }

func (f *fake) Flush(context.Context) ([]Whole, error) {
	f.record("flush")
	return []Whole{{"/d/eth0.pcapng.partial", 7}}, nil
}

func (f *fake) Extracted(_ context.Context, e Extraction) error {
	f.record(e)
	return nil
}

func (f *fake) Hold(_ context.Context, s Selection) ([]string, error) {
	f.record(s)
	return s.Files, nil
}

func (f *fake) Leave(_ context.Context, order string) (func(*net.UnixConn), error) {
	if f.left == nil {
		return nil, Refused("%s: not now", order)
	}
	return f.left, nil
}

func (f *fake) Release(_ context.Context, s Selection) ([]string, error) {
	f.record(s)
	return nil, nil
}

// start serves the backend on a socket until the end of the test. It returns the socket's path.
func start(t *testing.T, f *fake) string {
	t.Helper()
	path := filepath.Join(socketDir(t), "capd.sock")
	l, err := Listen(path, "")
	if err != nil {
		t.Fatal(err)
	}
	serveUntilEnd(t, NewServer(f, nil), l)
	return path
}

func serveUntilEnd(t *testing.T, s *Server, l *Listener) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		_ = l.Close()
	})
}

func dial(t *testing.T, path string) net.Conn {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func client(t *testing.T, path string) *Client {
	t.Helper()
	c := NewClient(path)
	t.Cleanup(c.Close)
	return c
}
