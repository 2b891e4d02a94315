package control

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestOrders: requests reach the backend with their arguments.
func TestOrders(t *testing.T) {
	f := &fake{status: Status{Software: "capd test", Interfaces: []Interface{{Name: "e\xff0", State: Recording}}}}
	c := client(t, start(t, f))
	ctx := context.Background()
	s, err := c.Status(ctx, "")
	if err != nil || s.Version != Version || s.Software != "capd test" || len(s.Interfaces) != 1 || !s.Looked.IsZero() {
		t.Errorf("%+v, %v", s, err)
	}
	if files, err := c.Rotate(ctx, "eth0"); err != nil || !slices.Equal(files, []string{"/d/eth0"}) {
		t.Errorf("rotate: %v, %v", files, err)
	}
	if _, err := c.Rotate(ctx, "nope"); err == nil || err.Error() != "capd says: rotate: interface nope is not recorded" {
		t.Errorf("rotate: %v", err)
	}
	if err := c.Reload(ctx); err == nil || err.Error() != "capd says: capd.toml:3: no" {
		t.Errorf("reload: %v", err)
	}
	hold := Selection{Files: []string{"a", "b"}}
	if files, err := c.Hold(ctx, hold); err != nil || !slices.Equal(files, hold.Files) {
		t.Errorf("hold: %v, %v", files, err)
	}
	if _, err := c.Release(ctx, Selection{All: true, Interface: "eth0"}); err != nil {
		t.Error(err)
	}
	want := []any{RotateOrder{"eth0"}, RotateOrder{"nope"}, hold, Selection{All: true, Interface: "eth0"}}
	if got := fmt.Sprint(f.calls); got != fmt.Sprint(want) {
		t.Errorf("called %s", got)
	}
}

// TestLooked: each looker gets the time of its previous request. When there are too many lookers,
// the oldest is forgotten.
func TestLooked(t *testing.T) {
	s := NewServer(&fake{}, nil)
	now := time.Now()
	for i := range maxLookers {
		if before := s.look(fmt.Sprint(i), now.Add(time.Duration(i))); !before.IsZero() {
			t.Fatalf("%d was there at %v", i, before)
		}
	}
	if before := s.look("0", now.Add(time.Hour)); !before.Equal(now) {
		t.Errorf("0 was there at %v, want %v", before, now)
	}
	s.look("new", now.Add(time.Hour))
	if before := s.look("2", now); !before.Equal(now.Add(2)) {
		t.Errorf("2 was there at %v", before)
	}
	if before := s.look("1", now); !before.IsZero() {
		t.Error("1 was not forgotten")
	}
}

// post sends a body, which may be shorter or longer than length, and returns the answer.
func post(t *testing.T, conn net.Conn, path string, length int64, body io.Reader) *http.Response {
	t.Helper()
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: capd\r\nContent-Length: %d\r\n\r\n", path, length)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = io.Copy(conn, body) // fails if the server stops reading
	}()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	conn.Close()
	<-sent
	return resp
}

// spaces is an endless reader.
type spaces struct{ read int64 }

func (s *spaces) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	s.read += int64(len(p))
	return len(p), nil
}

// TestLargeBody: the server reads only a small part of a body or head of 1 GiB, and answers with
// the reason.
func TestLargeBody(t *testing.T) {
	path := start(t, &fake{})
	const gib = 1 << 30
	body := new(spaces)
	resp := post(t, dial(t, path), "/v1/hold", gib, io.LimitReader(body, gib))
	if resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("status %s", resp.Status)
	}
	if body.read > 64<<20 {
		t.Errorf("the server took %d bytes", body.read)
	}
	head := new(spaces)
	if resp := largeHead(t, dial(t, path), io.LimitReader(head, gib)); resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status %s", resp.Status)
	}
	if head.read > 64<<20 {
		t.Errorf("the server took %d bytes of a head", head.read)
	}
	if _, err := client(t, path).Status(context.Background(), ""); err != nil {
		t.Error(err)
	}
}

// largeHead sends an endless head. It returns the answer, after which the server must have closed
// the connection.
func largeHead(t *testing.T, conn net.Conn, head io.Reader) *http.Response {
	t.Helper()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		fmt.Fprintf(conn, "GET /v1/status HTTP/1.1\r\nHost: capd\r\nX: ")
		_, _ = io.Copy(conn, head) // fails when the server stops reading
	}()
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal("no answer: ", err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	if _, err := r.ReadByte(); err == nil {
		t.Error("the server says more")
	}
	<-sent // ends only because the server closed the connection
	return resp
}

// TestBadRequests: invalid requests are refused and change nothing.
func TestBadRequests(t *testing.T) {
	f := &fake{}
	path := start(t, f)
	for _, c := range []struct {
		path, body string
		code       int
	}{
		{"/v1/hold", `{"files": 5}`, 400},
		{"/v1/hold", `{"file": ["a"]}`, 400},
		{"/v1/hold", `nonsense`, 400},
		{"/v1/hold", `{"files": [`, 400},
		{"/v1/status", `{}`, 405},
		{"/v2/status", `{}`, 404},
		{"/", ``, 404},
		{"/metrics", ``, 404},
	} {
		resp := post(t, dial(t, path), c.path, int64(len(c.body)), strings.NewReader(c.body))
		if resp.StatusCode != c.code {
			t.Errorf("%s %s: %s, want %d", c.path, c.body, resp.Status, c.code)
		}
	}
	if len(f.calls) > 0 {
		t.Errorf("called %v", f.calls)
	}
	conn := dial(t, path)
	fmt.Fprint(conn, "\x16\x03\x01 this is not HTTP\r\n\r\n")
	if resp, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || resp.StatusCode != 400 {
		t.Errorf("%v, %v", resp, err)
	}
}

// TestDisconnect: the request of a client that disconnects is cancelled.
func TestDisconnect(t *testing.T) {
	f := &fake{wait: make(chan struct{}), ended: make(chan error, 1)}
	path := start(t, f)
	ctx, cancel := context.WithCancel(context.Background())
	ordered := make(chan error, 1)
	c := client(t, path)
	go func() {
		_, err := c.Rotate(ctx, "eth0")
		ordered <- err
	}()
	await(t, "order", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return len(f.calls) == 1
	})
	cancel()
	if err := <-ordered; !errors.Is(err, context.Canceled) {
		t.Errorf("the client got %v", err)
	}
	if err := <-f.ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the order ended with %v", err)
	}
	// A client may also disconnect in the middle of a body.
	conn := dial(t, path)
	fmt.Fprint(conn, "POST /v1/hold HTTP/1.1\r\nHost: capd\r\nContent-Length: 100\r\n\r\n{\"files\"")
	conn.Close()
	if _, err := c.Status(context.Background(), ""); err != nil {
		t.Error(err)
	}
}

// TestSilence: idle clients, even more than are allowed, do not keep others out. The client that
// has been idle for longest is disconnected.
func TestSilence(t *testing.T) {
	path := start(t, &fake{})
	c := client(t, path)
	first := dial(t, path)
	for range maxConnections {
		dial(t, path)
	}
	for range 3 {
		if _, err := c.Status(context.Background(), ""); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := first.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the first connection: %v", err)
	}
}

// TestManyClients: a thousand clients are served at the same time.
func TestManyClients(t *testing.T) {
	path := start(t, &fake{})
	var asking sync.WaitGroup
	failed := make(chan error, 1000)
	for range 1000 {
		asking.Go(func() { failed <- askUntilAnswered(path) })
	}
	asking.Wait()
	close(failed)
	for err := range failed {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// askUntilAnswered repeats a request if the connection was closed as idle, which can happen on a
// busy machine.
func askUntilAnswered(path string) (err error) {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		c := NewClient(path)
		_, err = c.Status(context.Background(), "x")
		c.Close()
		if err == nil {
			return nil
		}
	}
	return err
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited too long for " + what)
		}
	}
}
