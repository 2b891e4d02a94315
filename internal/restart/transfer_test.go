package restart

import (
	"fmt"
	"io"
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// pair returns the two ends of a connection.
func pair(t *testing.T) (a, b *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
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

// TestTransfer: as many files as do not fit into one message come with their names.
func TestTransfer(t *testing.T) {
	const files = 2*mostFiles + 5
	h, err := NewHolder(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	for i := range files {
		f, err := os.CreateTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = fmt.Fprint(f, i)
		if err := h.Store(fmt.Sprintf("capd-%03d-ring", i), f); err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
	}
	if err := h.Remove("capd-007-ring"); err != nil {
		t.Error(err)
	}
	a, b := pair(t)
	sent := make(chan error, 1)
	all := h.Take()
	go func() { sent <- Send(a, all) }()
	got, err := Receive(b)
	if err := <-sent; err != nil {
		t.Error(err)
	}
	CloseAll(all)
	if err != nil || len(got) != files-1 {
		t.Fatalf("%d files, %v", len(got), err)
	}
	for _, f := range got {
		text, err := io.ReadAll(io.NewSectionReader(f.File, 0, 10))
		var n int
		if _, scanErr := fmt.Sscan(string(text), &n); err != nil || scanErr != nil || f.Name != fmt.Sprintf("capd-%03d-ring", n) || n == 7 {
			t.Errorf("%s holds %q, %v", f.Name, text, err)
		}
	}
	CloseAll(got)
	if left := h.Take(); len(left) > 0 {
		t.Errorf("%d files are held still", len(left))
	}
}

// FuzzReceive: whatever comes, Receive ends with the connection.
func FuzzReceive(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x18{\"names\":[],\"last\":true}"))
	f.Add([]byte("\x00\x00\x00\x1a{\"names\":[\"a\"],\"last\":1}"))
	f.Add([]byte("\x00\x00\x00\x00"))
	f.Add([]byte("\xff\xff\xff\xffx"))
	f.Fuzz(func(t *testing.T, text []byte) {
		a, b := pair(t)
		go func() {
			_, _ = a.Write(text)
			_ = a.CloseWrite()
			_, _ = io.Copy(io.Discard, a)
		}()
		files, err := Receive(b)
		if err == nil && len(files) > 0 {
			t.Errorf("%d files from nowhere", len(files))
		}
		CloseAll(files)
		_ = b.Close()
	})
}
