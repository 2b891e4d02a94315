package service

import (
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"capd/internal/control"
	"capd/internal/restart"
)

// connected returns the two ends of a connection.
func connected(t *testing.T) (a, b *net.UnixConn) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "end")
		c, err := net.FileConn(f)
		if err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
		ends[i] = c.(*net.UnixConn)
		t.Cleanup(func() { _ = c.Close() })
	}
	return ends[0], ends[1]
}

// TestTakeOverTimesOut: a new process that holds what it got, and does not come to record, is not waited for without end.
// Then the old one goes on, and the new one learns of that before it records anything for good.
func TestTakeOverTimesOut(t *testing.T) {
	own, others := connected(t)
	received := make(chan []restart.File, 1)
	go func() {
		files, err := restart.Receive(others)
		if err != nil {
			t.Error(err)
		}
		received <- files
	}()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	d := &departure{order: control.TakeOver, conn: own, wait: 200 * time.Millisecond}
	err = d.pass(nil, []restart.File{{Name: "null", File: null}}, passed{})
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%v, want a timeout", err)
	}
	files := <-received
	if len(files) != 1 {
		t.Errorf("%d files", len(files))
	}
	restart.CloseAll(files)
	h := heritage{announce: others}
	if err := h.said(); err == nil {
		t.Error("the new process goes on, too")
	}
	if recordTimeout != 2*time.Minute {
		t.Errorf("docs/service.md says that a new process has 2 minutes, not %v", recordTimeout)
	}
}

// TestTakeOverInTime: a process that says in the last moment that it records is believed.
func TestTakeOverInTime(t *testing.T) {
	own, others := connected(t)
	done := make(chan error, 1)
	go func() {
		_, err := restart.Receive(others)
		h := heritage{announce: others}
		done <- errors.Join(err, h.said())
	}()
	d := &departure{order: control.TakeOver, conn: own, wait: time.Minute}
	if err := errors.Join(d.pass(nil, nil, passed{}), <-done); err != nil {
		t.Error(err)
	}
}
