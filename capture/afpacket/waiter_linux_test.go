package afpacket

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestPause: a pause ends with the time or by wakeUp, and not by what the socket has.
func TestPause(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	w, err := newWaiter(fds[0])
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	if _, err := unix.Write(fds[1], []byte("x")); err != nil {
		t.Fatal(err)
	}
	const d = 20 * time.Millisecond
	if begin := time.Now(); w.pause(d) != nil || time.Since(begin) < d {
		t.Error("the socket ended it")
	}
	go w.wakeUp()
	if err := w.pause(time.Hour); err != nil {
		t.Error(err)
	}
	if failed, err := w.wait(-1); failed || err != nil { // the socket still has something
		t.Error(failed, err)
	}
}
