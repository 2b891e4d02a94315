package control

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestLeave: the client gets the connection, and the backend does nothing before the client is there.
func TestLeave(t *testing.T) {
	f := &fake{}
	path := start(t, f)
	if _, err := client(t, path).Leave(t.Context(), TakeOver); err == nil || err.Error() != "capd says: take-over: not now" {
		t.Error(err)
	}
	got := make(chan *net.UnixConn, 1)
	f.left = func(c *net.UnixConn) { got <- c }
	conn, err := client(t, path).Leave(t.Context(), TakeOver)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ours := <-got
	defer ours.Close()
	if _, err := ours.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	b := make([]byte, 1)
	if _, err := io.ReadFull(conn, b); err != nil || b[0] != 'x' {
		t.Errorf("%q, %v", b, err)
	}

	// One that goes away in between, and one that says something else.
	for _, say := range []string{"", "x"} {
		raw := dial(t, path)
		if _, err := io.WriteString(raw, "POST /v1/take-over HTTP/1.1\r\nHost: capd\r\nContent-Length: 2\r\n\r\n{}"+say); err != nil {
			t.Fatal(err)
		}
		_ = raw.(*net.UnixConn).CloseWrite()
		if c := <-got; c != nil {
			t.Errorf("%q: the recorders leave", say)
		}
	}

	for _, body := range []string{"", "{\"x\":1}"} {
		resp, err := client(t, path).http.Post("http://capd/v1/upgrade", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if resp.Body.Close(); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%q: %s", body, resp.Status)
		}
	}
}

// TestUpgradeFails: what the backend says instead of going on as another program is an error.
func TestUpgradeFails(t *testing.T) {
	say := ""
	f := &fake{left: func(c *net.UnixConn) {
		_, _ = io.WriteString(c, say)
		_ = c.Close()
	}}
	c := client(t, start(t, f))
	if err := c.Upgrade(t.Context()); err != nil {
		t.Error(err)
	}
	say = "exec: no such file"
	if err := c.Upgrade(t.Context()); err == nil || err.Error() != "capd says: exec: no such file" {
		t.Error(err)
	}
}

// TestStranger: whoever may ask for the status may not take over.
func TestStranger(t *testing.T) {
	if path := os.Getenv(asOther); path != "" {
		c := client(t, path)
		if _, err := c.Status(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		for _, order := range []string{TakeOver, Upgrade} {
			if _, err := c.Leave(t.Context(), order); err == nil || !strings.Contains(err.Error(), order+": only user 0 and root may do that, and this is user 65533") {
				t.Errorf("%s: %v", order, err)
			}
		}
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root to become another user")
	}
	path := filepath.Join(socketDir(t), "s")
	l, err := Listen(path, "65532")
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{left: func(*net.UnixConn) { t.Error("the recorders leave") }}
	serveUntilEnd(t, NewServer(f, nil), l)
	cmd := exec.Command(program(t), "-test.run=TestStranger$", "-test.v")
	cmd.Env = append(os.Environ(), asOther+"="+path)
	cmd.Dir = filepath.Dir(path)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65533, Gid: 65532}}
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "PASS: TestStranger") {
		t.Errorf("%v: %s", err, out)
	}
}

// TestTooOld: a capd that does not know the order.
func TestTooOld(t *testing.T) {
	path := filepath.Join(socketDir(t), "old")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.NotFoundHandler()}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	if _, err := client(t, path).Leave(t.Context(), TakeOver); !errors.Is(err, ErrTooOld) {
		t.Error(err)
	}
	_ = s.Close()
	<-ended
}
