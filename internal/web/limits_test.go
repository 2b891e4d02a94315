package web

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"capd/internal/extract"
	"capd/ledger"
)

// A pipeListener gives connections without buffers, and with the time of a bubble.
type pipeListener struct {
	made  chan net.Conn
	ended chan struct{}
	end   func()

	open, most atomic.Int32 // connections that are served now, and at a time
}

// A countedConn is not open once it is closed.
type countedConn struct {
	net.Conn
	done func()
}

func (c *countedConn) Close() error {
	c.done()
	return c.Conn.Close()
}

// rise counts one more, and keeps the most.
func rise(n, most *atomic.Int32) {
	now := n.Add(1)
	for m := most.Load(); now > m && !most.CompareAndSwap(m, now); m = most.Load() {
	}
}

func newPipeListener() *pipeListener {
	l := &pipeListener{made: make(chan net.Conn), ended: make(chan struct{})}
	l.end = sync.OnceFunc(func() { close(l.ended) })
	return l
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.made:
		rise(&l.open, &l.most)
		return &countedConn{c, sync.OnceFunc(func() { l.open.Add(-1) })}, nil
	case <-l.ended:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }

func (l *pipeListener) Close() error {
	l.end()
	return nil
}

// dial returns a connection, which may wait for a place.
func (l *pipeListener) dial() net.Conn {
	c, s := net.Pipe()
	go func() {
		select {
		case l.made <- s:
		case <-l.ended:
			s.Close()
		}
	}()
	return c
}

// A bubble is a server in the time of a test.
type bubble struct {
	t       *testing.T
	l       *pipeListener
	server  *Server
	session string
}

// inBubble serves what a test asks in time of its own.
func inBubble(t *testing.T, c Config, do func(*bubble)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		if c.Recorders == nil {
			c.Recorders = nobody{}
		}
		s, once := New(c)
		session, err := s.exchange(once)
		if err != nil {
			t.Fatal(err)
		}
		b := &bubble{t, newPipeListener(), s, session}
		ctx, end := context.WithCancel(t.Context())
		served := make(chan error)
		go func() { served <- s.Serve(ctx, b.l) }()
		time.Sleep(time.Second) // what was seen at the start is old
		do(b)
		end()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

// request sends the head of a request.
func (b *bubble) request(c net.Conn, method, path string, heads ...string) {
	b.t.Helper()
	head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\n", method, path, b.session)
	for _, h := range heads {
		head += h + "\r\n"
	}
	if _, err := io.WriteString(c, head+"\r\n"); err != nil {
		b.t.Error(err)
	}
}

// response reads an answer whole.
func (b *bubble) response(c net.Conn) (*http.Response, []byte) {
	b.t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		b.t.Error(err)
		return &http.Response{}, nil
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Error(err)
	}
	return resp, body
}

// slow takes its time for what ledgers say, or until the question ends.
type slow struct {
	nobody
	takes time.Duration
	begun atomic.Bool
	asked atomic.Int32 // now
	most  atomic.Int32 // of these at a time
	ended chan error   // gets why a question ended early
}

func (s *slow) Ask(ctx context.Context, dir string, q ledger.Question) (*ledger.Answer, error) {
	if !s.begun.Swap(true) { // the server looks before anybody asks
		return s.nobody.Ask(ctx, dir, q)
	}
	rise(&s.asked, &s.most)
	defer s.asked.Add(-1)
	select {
	case <-time.After(s.takes):
		return s.nobody.Ask(ctx, dir, q)
	case <-ctx.Done():
		s.ended <- ctx.Err()
		return nil, ctx.Err()
	}
}

// TestManyConnections: of 300 connections that say nothing 64 have a place, for ten seconds; each gets its turn, and a question too.
func TestManyConnections(t *testing.T) {
	inBubble(t, Config{}, func(b *bubble) {
		var all []net.Conn
		for range 300 {
			all = append(all, b.l.dial())
		}
		synctest.Wait()
		began := time.Now()
		var ended sync.WaitGroup
		for _, c := range all {
			ended.Go(func() {
				if _, err := c.Write([]byte("G")); err != nil { // is taken once there is a place
					t.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, c)
				c.Close()
			})
		}
		ended.Wait()
		if took := time.Since(began); b.l.most.Load() != 64 || took != 50*time.Second {
			t.Errorf("%d at a time, %v", b.l.most.Load(), took)
		}
		c := b.l.dial()
		defer c.Close()
		b.request(c, "GET", "/v1/info")
		if resp, body := b.response(c); resp.StatusCode != http.StatusOK {
			t.Errorf("%s %s", resp.Status, body)
		}
	})
}

// TestStalledDownload: a client that stops to read loses its download after the limit, and its place.
func TestStalledDownload(t *testing.T) {
	var noted *extract.Answer
	whole := answerOf(t, office(t), "")
	inBubble(t, Config{
		Directories: []string{office(t)}, Limits: Limits{Questions: 1, Waiting: time.Minute},
		Note: func(_ context.Context, _ *extract.Question, a *extract.Answer) { noted = a },
	}, func(b *bubble) {
		c := b.l.dial()
		defer c.Close()
		b.request(c, "GET", "/v1/extract")
		half := make([]byte, len(whole)/2)
		if _, err := io.ReadFull(c, half[:100]); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Second)
		began := time.Now()
		if _, err := io.ReadFull(c, half); err != nil {
			t.Fatal(err)
		}
		o := b.l.dial()
		defer o.Close()
		b.request(o, "GET", "/v1/info")
		if resp, body := b.response(o); resp.StatusCode != http.StatusOK {
			t.Errorf("%s %s", resp.Status, body)
		}
		if took := time.Since(began); took < 30*time.Second || took > 31*time.Second || noted == nil {
			t.Errorf("it ended after %v; %v noted", took, noted)
		}
	})
}

// TestStalledAnswer: a client that stops to read an answer loses its connection.
func TestStalledAnswer(t *testing.T) {
	inBubble(t, Config{Directories: []string{office(t)}}, func(b *bubble) {
		c := b.l.dial()
		defer c.Close()
		b.request(c, "GET", "/v1/packets?limit=1000")
		if _, err := io.ReadFull(c, make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		time.Sleep(31 * time.Second)
		if n := len(b.server.places); n != 0 {
			t.Errorf("%d questions are still being answered", n)
		}
		if _, err := io.Copy(io.Discard, c); err != nil || time.Since(began) != 31*time.Second {
			t.Errorf("the connection ended after %v; %v", time.Since(began), err)
		}
	})
}

// TestLongQuestion: a question, a download and the wait for its verdict may take longer than a request may take to come, and than a client
// may take nothing.
func TestLongQuestion(t *testing.T) {
	by := &slow{takes: 50 * time.Second, ended: make(chan error, 9)}
	inBubble(t, Config{Directories: []string{office(t)}, Recorders: by}, func(b *bubble) {
		var tk ticket
		c := b.l.dial()
		defer c.Close()
		b.request(c, "GET", "/v1/timeline")
		if resp, body := b.response(c); resp.StatusCode != http.StatusOK {
			t.Errorf("timeline: %s %s", resp.Status, body)
		}
		b.request(c, "POST", "/v1/downloads?filter=udp")
		_, body := b.response(c)
		if err := json.Unmarshal(body, &tk); err != nil {
			t.Fatal(err)
		}
		var both sync.WaitGroup
		for _, path := range []string{"/v1/downloads/" + tk.ID + "/file", "/v1/downloads/" + tk.ID} {
			both.Go(func() {
				c := b.l.dial()
				defer c.Close()
				b.request(c, "GET", path)
				if resp, body := b.response(c); resp.StatusCode != http.StatusOK || len(body) == 0 {
					t.Errorf("%s: %s, %d bytes", path, resp.Status, len(body))
				}
			})
		}
		both.Wait()
		select {
		case err := <-by.ended:
			t.Errorf("a question ended: %v", err)
		default:
		}
	})
}

// TestQuestionsHaveTheirTime: one that takes too long is answered with 504.
func TestQuestionsHaveTheirTime(t *testing.T) {
	by := &slow{takes: time.Hour, ended: make(chan error, 9)}
	inBubble(t, Config{Directories: []string{office(t)}, Recorders: by}, func(b *bubble) {
		began := time.Now()
		c := b.l.dial()
		defer c.Close()
		b.request(c, "GET", "/v1/timeline")
		if resp, body := b.response(c); resp.StatusCode != http.StatusGatewayTimeout || time.Since(began) != 2*time.Minute {
			t.Errorf("%s after %v: %s", resp.Status, time.Since(began), body)
		}
	})
}

// TestManyQuestions: four are answered at a time, others wait ten seconds and are refused.
func TestManyQuestions(t *testing.T) {
	by := &slow{takes: 30 * time.Second, ended: make(chan error, 99)}
	inBubble(t, Config{Directories: []string{office(t)}, Recorders: by}, func(b *bubble) {
		var mu sync.Mutex
		got := make(map[int]int)
		var all sync.WaitGroup
		for i := range 20 {
			all.Go(func() {
				began := time.Now()
				c := b.l.dial()
				defer c.Close()
				b.request(c, "GET", []string{"/v1/packets", "/v1/extract"}[i%2])
				resp, body := b.response(c)
				mu.Lock()
				defer mu.Unlock()
				got[resp.StatusCode]++
				if refused := resp.StatusCode == http.StatusTooManyRequests; refused && (time.Since(began) != 10*time.Second || resp.Header.Get("Retry-After") == "") {
					t.Errorf("refused after %v: %s", time.Since(began), body)
				}
			})
		}
		all.Wait()
		if got[http.StatusOK] != 4 || got[http.StatusTooManyRequests] != 16 || by.most.Load() != 4 {
			t.Errorf("%v, %d at a time", got, by.most.Load())
		}
	})
}

// TestClientGoesAway: a question ends with its client, be it answered or waiting for others.
func TestClientGoesAway(t *testing.T) {
	for _, path := range []string{"/v1/timeline", "/v1/packets", "/v1/extract"} {
		by := &slow{takes: time.Hour, ended: make(chan error, 9)}
		inBubble(t, Config{Directories: []string{office(t)}, Recorders: by, Limits: Limits{Questions: 2}}, func(b *bubble) {
			began := time.Now()
			first, second := b.l.dial(), b.l.dial()
			b.request(first, "GET", path)
			synctest.Wait()
			b.request(second, "GET", path)
			synctest.Wait()
			second.Close()
			synctest.Wait()
			if n := len(b.server.places); n != 1 {
				t.Errorf("%s: %d places are taken, want that of the first", path, n)
			}
			first.Close()
			synctest.Wait()
			if err := <-by.ended; !errors.Is(err, context.Canceled) || time.Since(began) != 0 {
				t.Errorf("%s: %v after %v", path, err, time.Since(began))
			}
			synctest.Wait()
			if n := len(b.server.places); n != 0 || by.asked.Load() != 0 {
				t.Errorf("%s: %d places are taken", path, n)
			}
		})
	}
}

// TestBodies: no request has a body, however long it says that it is, and nobody waits for it.
func TestBodies(t *testing.T) {
	inBubble(t, Config{Directories: []string{office(t)}}, func(b *bubble) {
		for _, head := range []string{"Content-Length: 1", "Content-Length: 20000", "Content-Length: 9000000000000000000", "Transfer-Encoding: chunked"} {
			for _, q := range []string{"GET /v1/info", "POST /v1/downloads", "POST /v1/session", "GET /"} {
				began := time.Now()
				c := b.l.dial()
				method, path, _ := strings.Cut(q, " ")
				b.request(c, method, path, head)
				resp, body := b.response(c)
				if resp.StatusCode != http.StatusRequestEntityTooLarge || !resp.Close {
					t.Errorf("%s, %s: %s %s", q, head, resp.Status, body)
				}
				_, _ = io.Copy(io.Discard, c)
				if took := time.Since(began); took > 31*time.Second {
					t.Errorf("%s, %s: the connection ended after %v", q, head, took)
				}
				c.Close()
			}
		}
	})
}

// TestLongRequests: heads are bounded, and filters within them.
func TestLongRequests(t *testing.T) {
	inBubble(t, Config{Directories: []string{office(t)}}, func(b *bubble) {
		for size, want := range map[int]int{1 << 20: http.StatusRequestHeaderFieldsTooLarge, 10 << 10: http.StatusBadRequest} {
			c := b.l.dial()
			go func() {
				_, _ = fmt.Fprintf(c, "GET /v1/filter?filter=%s HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\n\r\n", strings.Repeat("(", size), b.session)
			}()
			if resp, body := b.response(c); resp.StatusCode != want || len(body) > 4<<10 {
				t.Errorf("%d: %s, %d bytes", size, resp.Status, len(body))
			}
			c.Close()
		}
	})
	for _, filter := range []string{strings.Repeat("tcp or ", 1<<20/7) + "udp", strings.Repeat("not ", 1<<18), strings.Repeat("(", 1<<20)} {
		var p *paramError
		if _, err := parseQuery("filter="+url.QueryEscape(filter), ofQuestion); !errors.As(err, &p) || len(err.Error()) > 1000 {
			t.Errorf("%.20s: %.100v", filter, err)
		}
	}
}

// TestMisleadingPaths: paths lead nowhere but to questions and the page.
func TestMisleadingPaths(t *testing.T) {
	dir := office(t)
	inBubble(t, Config{Directories: []string{dir}}, func(b *bubble) {
		status := func(path string) (int, []byte) {
			c := b.l.dial()
			defer c.Close()
			b.request(c, "GET", path)
			resp, body := b.response(c)
			if to := resp.Header.Get("Location"); to != "" && (!strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//")) {
				t.Errorf("%s leads to %s", path, to)
			}
			return resp.StatusCode, body
		}
		for _, path := range []string{
			"/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/..%2f..%2fetc%2fpasswd", "/vendor/../../server.go", "/vendor/", "/page/app.js", "/server.go", "/app.js/", "/app.js%00",
			"/%00", "/v1", "/v1/", "/v1/info/", "/v1/info%00", "/v1%2finfo", "//v1//info", "/v1/../v1/info", "/V1/info", "//evil.example/%2e%2e", "/\\evil.example",
			"/v1/downloads/..%2f..%2fetc%2fpasswd/file", "/v1/downloads/%00/file", "/v1/downloads//file", "/v1/downloads/" + strings.Repeat("A", 9999) + "/file", "/v1/downloads/..%2finfo",
			dir, dir + "/ledger.jsonl", "/ledger.jsonl", "*", "/v1/info?%00", "/v1/info?directory=/etc", "/v1/timeline?dir=/etc", "/v1/files?path=/etc", "/v1/info;x=1",
			"/v1/timeline?since=%00", "/v1/timeline?bins=1&bins=2", "/v1/timeline?bins=-1", "/v1/timeline?bins=9999999999999999999", "/v1/timeline?since=2026-01-01T00:00:00Z&until=2025-01-01T00:00:00Z",
			"/v1/packets?interface=..%2f..%2fetc%00", "/v1/packets?interface=a%0ab", "/v1/packets?flow=%00", "/v1/packets?id=..%2f..", "/v1/packets?offset=-1", "/v1/packets?limit=0", "/v1/flows?group=..%2f",
		} {
			if got, body := status(path); got < 300 || got >= 500 || bytes.Contains(body, []byte("root:")) {
				t.Errorf("%s: %d %.200s", path, got, body)
			}
		}
		if got, body := status("/v1/packets?interface=nobody0"); got != http.StatusOK || !bytes.Contains(body, []byte(`"packets":[]`)) {
			t.Errorf("an interface that is not there: %d %s", got, body)
		}
	})
}

// TestHeadIsNoQuestion: who asks for the head alone starts no extraction, takes no download and no token.
func TestHeadIsNoQuestion(t *testing.T) {
	noted := false
	inBubble(t, Config{Directories: []string{office(t)}, Note: func(context.Context, *extract.Question, *extract.Answer) { noted = true }}, func(b *bubble) {
		id, err := b.server.downloads.add(new(query), 1)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{"/v1/extract", "/v1/info", "/v1/downloads/" + id + "/file"} {
			c := b.l.dial()
			b.request(c, "HEAD", path)
			resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: "HEAD"})
			if err != nil || resp.StatusCode != http.StatusNotFound {
				t.Errorf("%s: %v, %v", path, resp, err)
			}
			c.Close()
		}
		if noted || b.server.downloads.begin(id) == nil {
			t.Error("a head was given the packets")
		}
	})
}

// TestDetailIsBounded: an answer with the bytes of packets has so many of them, and the next one has the rest.
func TestDetailIsBounded(t *testing.T) {
	c, _ := open(t, Config{Directories: []string{office(t)}, Limits: Limits{Detail: 2000}})
	var all, some, one packets
	c.ask("GET", "/v1/packets?limit=1000", http.StatusOK, &all)
	c.ask("GET", "/v1/packets?limit=1000&detail=1", http.StatusOK, &some)
	size := 0
	for i := range some.Packets {
		size += len(some.Packets[i].Bytes)
	}
	n := len(some.Packets)
	if n < 2 || n >= len(all.Packets) || !some.More || size > 2000 {
		t.Fatalf("%d packets of %d, %d bytes, more %v", n, len(all.Packets), size, some.More)
	}
	c.ask("GET", fmt.Sprintf("/v1/packets?limit=1&detail=1&offset=%d", n), http.StatusOK, &one)
	if len(one.Packets) != 1 || !one.Packets[0].Time.Equal(all.Packets[n].Time) {
		t.Errorf("%+v, want that of %v", one.Packets, all.Packets[n].Time)
	}
}
