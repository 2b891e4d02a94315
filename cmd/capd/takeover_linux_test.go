package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"capd/internal/control"
	"capd/internal/restart"
	"capd/internal/testnet"
)

// A relay is a capd without a service manager, of which one process follows another.
type relay struct {
	t                   *testing.T
	files, file, socket string
	cmd                 *exec.Cmd
	errs                *bytes.Buffer
	pid                 int
	start               time.Time
	frames              *load
}

// newRelay starts a capd and the load.
func newRelay(t *testing.T, settings string) *relay {
	testnet.Veth(t, "v0", "v1", 1500)
	dir := t.TempDir()
	r := &relay{t: t, files: filepath.Join(dir, "files"), file: filepath.Join(dir, "capd.toml"), socket: filepath.Join(dir, "sock")}
	r.configure(settings)
	r.run()
	r.records()
	r.frames = startLoad(t, "v0", 20_000, false)
	t.Cleanup(func() {
		if r.frames != nil {
			r.frames.end()
		}
	})
	return r
}

func (r *relay) configure(settings string) {
	r.t.Helper()
	text := fmt.Appendf(nil, restartConfig, r.files, r.socket, "v1", settings)
	if err := os.WriteFile(r.file, text, 0o600); err != nil {
		r.t.Fatal(err)
	}
}

func (r *relay) run(more ...string) {
	r.t.Helper()
	r.cmd, r.errs = process(r.t, append([]string{"run", "-c", r.file, "--log-format", "text"}, more...)...)
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	cmd, errs := r.cmd, r.errs
	r.t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
		if r.t.Failed() || testing.Verbose() {
			r.t.Logf("process %d:\n%s", cmd.Process.Pid, errs)
		}
	})
}

// records waits until a run that was not there before records.
func (r *relay) records() {
	r.t.Helper()
	c := control.NewClient(r.socket)
	defer c.Close()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		s, err := c.Status(context.Background(), "")
		if err == nil && len(s.Interfaces) > 0 && s.Interfaces[0].State == control.Recording && s.Start.After(r.start) {
			r.pid, r.start = s.PID, s.Start
			return
		}
	}
	r.t.Fatalf("no other run records; the last says: %s", r.errs)
}

// takeOver starts a process that takes over, and waits for the end of the one before.
func (r *relay) takeOver() {
	r.t.Helper()
	before, errs := r.cmd, r.errs
	r.run("--take-over")
	if err := before.Wait(); err != nil {
		r.t.Errorf("the process before: %v: %s", err, errs)
	}
	r.records()
	if r.pid != r.cmd.Process.Pid {
		r.t.Errorf("process %d answers, not %d", r.pid, r.cmd.Process.Pid)
	}
}

func (r *relay) upgrade() {
	r.t.Helper()
	if code, out, errs := capd("upgrade", "-c", r.file); code != 0 || !strings.Contains(out, fmt.Sprintf("goes on as process %d", r.cmd.Process.Pid)) {
		r.t.Fatalf("upgrade: exit %d, %s%s", code, out, errs)
	}
	r.records()
}

// end ends the last process and checks all frames.
func (r *relay) end() {
	r.t.Helper()
	sent := r.frames.end()
	r.frames = nil
	_ = r.cmd.Process.Signal(syscall.SIGTERM)
	if err := r.cmd.Wait(); err != nil {
		r.t.Errorf("%v: %s", err, r.errs)
	}
	checkFrames(r.t, r.files, sent, restarts{})
}

func (r *relay) wait() { time.Sleep(time.Duration(rand.IntN(400)) * time.Millisecond) }

// TestTakeOverLosesNothing: one process takes over from another, with other settings too.
func TestTakeOverLosesNothing(t *testing.T) {
	for name, settings := range map[string][]string{
		"same":    {""},
		"lanes":   {"fanout = 2"},
		"changed": {"", "snaplen = 1000", "fanout = 2", "rotate_size = '2MiB'", "filter = 'ether proto 0x88b5'"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRelay(t, settings[0])
			for i := range 10 {
				r.wait()
				r.configure(settings[(i+1)%len(settings)])
				r.takeOver()
			}
			r.end()
		})
	}
}

// TestUpgradeLosesNothing: a process goes on as another program, and keeps its number.
func TestUpgradeLosesNothing(t *testing.T) {
	r := newRelay(t, "")
	for i := range 10 {
		r.wait()
		r.configure([]string{"", "snaplen = 1000"}[i%2])
		r.upgrade()
	}
	r.wait()
	r.takeOver()
	r.end()
}

// TestTakeOverFails: the process that takes over is killed at a random moment, and the one before goes on.
func TestTakeOverFails(t *testing.T) {
	for range 6 {
		t.Run("", func(t *testing.T) {
			r := newRelay(t, "")
			before, errs := r.cmd, r.errs
			ended := make(chan error, 1)
			go func() { ended <- before.Wait() }()
			r.wait()
			r.run("--take-over")
			time.Sleep(time.Duration(rand.IntN(90)) * time.Millisecond)
			_ = r.cmd.Process.Kill()
			_ = r.cmd.Wait()
			// The one before may have seen no more of it than its end, or not even that.
			c := control.NewClient(r.socket)
			defer c.Close()
			for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
				select {
				case err := <-ended:
					if err != nil {
						t.Errorf("%v: %s", err, errs)
					}
					t.Log("the takeover was over when the new process was killed")
					return
				default:
				}
				if s, err := c.Status(t.Context(), ""); err == nil && s.PID == before.Process.Pid && s.Interfaces[0].State == control.Recording {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("the process before does not go on: %s", errs)
				}
			}
			sent := r.frames.end()
			r.frames = nil
			_ = before.Process.Signal(syscall.SIGTERM)
			if err := <-ended; err != nil {
				t.Errorf("%v: %s", err, errs)
			}
			checkFrames(t, r.files, sent, restarts{})
		})
	}
}

// TestUpgradeRefused: nothing changes if the new program would not record.
func TestUpgradeRefused(t *testing.T) {
	r := newRelay(t, "")
	start := r.start
	r.configure("snaplan = 5")
	if code, _, errs := capd("upgrade", "--socket", r.socket); code != exitFailed || !strings.Contains(errs, "nothing has changed") || !strings.Contains(errs, "snaplan") {
		t.Errorf("exit %d: %s", code, errs)
	}
	r.configure("")
	c := control.NewClient(r.socket)
	defer c.Close()
	if s, err := c.Status(t.Context(), ""); err != nil || !s.Start.Equal(start) {
		t.Errorf("%+v, %v", s, err)
	}
	r.end()
}

// TestEndWhileLeaving: a process that is told to end while it leaves reads its rings to the end.
func TestEndWhileLeaving(t *testing.T) {
	for _, after := range []time.Duration{0, 20 * time.Millisecond, 60 * time.Millisecond} {
		t.Run(after.String(), func(t *testing.T) {
			r := newRelay(t, "")
			r.wait()
			c := control.NewClient(r.socket)
			conn, err := c.Leave(t.Context(), control.TakeOver)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			sent := r.frames.end()
			r.frames = nil
			time.Sleep(after)
			_ = r.cmd.Process.Signal(syscall.SIGTERM)
			if files, err := restart.Receive(conn); err == nil {
				restart.CloseAll(files)
				t.Log("it had left by then")
				conn.Close()
			}
			if err := r.cmd.Wait(); err != nil {
				t.Logf("%v", err) // it had nothing left to record
				return
			}
			checkFrames(t, r.files, sent, restarts{})
		})
	}
}

// TestTakeOverFromOld: a capd that does not know the order, and one that is not there.
func TestTakeOverFromOld(t *testing.T) {
	testnet.Veth(t, "v0", "v1", 1500)
	dir := t.TempDir()
	r := &relay{t: t, files: filepath.Join(dir, "files"), file: filepath.Join(dir, "capd.toml"), socket: filepath.Join(dir, "sock")}
	r.configure("")
	if code, _, errs := capd("run", "-c", r.file, "--log-format", "text", "--take-over"); code != exitFailed || !strings.Contains(errs, "no capd listens there") {
		t.Errorf("exit %d: %s", code, errs)
	}
	l, err := net.Listen("unix", r.socket)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 4096))
			_, _ = io.WriteString(conn, "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}")
			conn.Close()
		}
	}()
	for _, args := range [][]string{{"run", "-c", r.file, "--log-format", "text", "--take-over"}, {"upgrade", "-c", r.file}} {
		if code, _, errs := capd(args...); code != exitFailed || !strings.Contains(errs, control.ErrTooOld.Error()) {
			t.Errorf("%q: exit %d: %s", args, code, errs)
		}
	}
	l.Close()
	<-done
	if _, err := os.Stat(r.files); err == nil {
		t.Error("a directory was made for nothing")
	}
}

// TestTakeOverSilent: a process that took everything and then says nothing costs nothing: the one before goes on.
func TestTakeOverSilent(t *testing.T) {
	r := newRelay(t, "")
	for range 3 {
		r.wait()
		c := control.NewClient(r.socket)
		conn, err := c.Leave(t.Context(), control.TakeOver)
		if err != nil {
			t.Fatal(err)
		}
		files, err := restart.Receive(conn)
		if err != nil || len(files) < 3 {
			t.Errorf("%d files, %v", len(files), err)
		}
		restart.CloseAll(files)
		conn.Close()
		r.records()
	}
	r.end()
}
