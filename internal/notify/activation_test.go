package notify

import (
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// TestListener: what a service manager listens on is taken over.
func TestListener(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Dup(int(f.Fd()))
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	got, err := listener(fd, 1)
	if err != nil || got.Addr().String() != l.Addr().String() {
		t.Fatalf("%v, %v", got, err)
	}
	got.Close()
	t.Setenv("LISTEN_PID", "1")
	t.Setenv("LISTEN_FDS", "1")
	if l, err := Inherited(); l != nil || err != nil || os.Getenv("LISTEN_FDS") != "" {
		t.Errorf("another's: %v, %v", l, err)
	}
}
