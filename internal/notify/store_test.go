package notify

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A store is a service manager's: it has room for some descriptors.
type store struct {
	conn *net.UnixConn
	room int
	all  map[string][]int
	log  []string
	end  func() // returns when nothing more is received: the fields may be read then
}

// keep makes a manager with a store that works until the test ends.
func keep(t *testing.T, room int) (*Manager, *store) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("NOTIFY_SOCKET", path)
	m, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	s := &store{conn: conn, room: room, all: map[string][]int{}}
	ended := make(chan struct{})
	s.end = func() {
		conn.Close()
		<-ended
	}
	go func() {
		defer close(ended)
		for s.receive() {
		}
	}()
	t.Cleanup(func() {
		s.end()
		for name := range s.all {
			s.remove(name)
		}
	})
	return m, s
}

// receive does what systemd does with a message.
func (s *store) receive() bool {
	text, oob := make([]byte, 4096), make([]byte, 4096)
	n, k, _, _, err := s.conn.ReadMsgUnix(text, oob)
	if err != nil {
		return false
	}
	var fds []int
	if messages, err := unix.ParseSocketControlMessage(oob[:k]); err == nil && len(messages) > 0 {
		fds, _ = unix.ParseUnixRights(&messages[0])
	}
	lines := strings.Split(string(text[:n]), "\n")
	s.log = append(s.log, strings.Join(lines, " "))
	name := strings.TrimPrefix(lines[len(lines)-1], "FDNAME=")
	switch lines[0] {
	case "FDSTORE=1":
		for len(fds) > 0 && s.room > 0 {
			s.all[name] = append(s.all[name], fds[0])
			fds = fds[1:]
			s.room--
		}
	case "FDSTOREREMOVE=1":
		s.remove(name)
	}
	for _, fd := range fds {
		unix.Close(fd)
	}
	return true
}

func (s *store) remove(name string) {
	for _, fd := range s.all[name] {
		unix.Close(fd)
		s.room++
	}
	delete(s.all, name)
}

// TestStore: descriptors are stored by name, in messages that are not too large, and HasRoom finds
// out whether all of them were.
func TestStore(t *testing.T) {
	m, s := keep(t, 300)
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	many := make([]*os.File, 298)
	for i := range many {
		many[i] = f
	}
	if err := errors.Join(m.Store("ring eth0/3", f), m.Store("chunks", many...)); err != nil {
		t.Fatal(err)
	}
	if ok, err := m.HasRoom(patience); !ok || err != nil {
		t.Errorf("room: %t, %v", ok, err)
	}
	if err := m.Store("last", f); err != nil {
		t.Error(err)
	}
	if ok, err := m.HasRoom(patience); ok || err != nil {
		t.Errorf("room though it is full: %t, %v", ok, err)
	}
	if err := errors.Join(m.Remove("last"), m.Barrier(patience)); err != nil {
		t.Error(err)
	}
	m.conn.Close()
	s.end()
	want := "FDSTORE=1 FDPOLL=0 FDNAME=ring eth0/3"
	if len(s.all) != 2 || len(s.all["ring eth0/3"]) != 1 || len(s.all["chunks"]) != 298 || s.log[0] != want || len(s.log) != 12 {
		t.Errorf("%d names, %d chunks, %d messages, the first: %q", len(s.all), len(s.all["chunks"]), len(s.log), s.log[0])
	}
}

func TestStoreNames(t *testing.T) {
	m, _ := keep(t, 1)
	for _, name := range []string{"", "a:b", "a\nb", "a\x7f", "ü", strings.Repeat("a", 256)} {
		if m.Store(name) == nil || m.Remove(name) == nil {
			t.Errorf("%q is accepted", name)
		}
	}
	if err := m.Remove(strings.Repeat("a", 255)); err != nil {
		t.Error(err)
	}
}

// TestStoreOfNobody: what can't be stored is an error.
func TestStoreOfNobody(t *testing.T) {
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var none *Manager
	if _, err := none.HasRoom(patience); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("room: %v", err)
	}
	for name, err := range map[string]error{"store": none.Store("a", f), "remove": none.Remove("a"), "barrier": none.Barrier(patience)} {
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n, known := none.StoreMax(); n != 0 || !known {
		t.Errorf("%d, %t", n, known)
	}
	m, s := keep(t, 1)
	s.conn.Close()
	if m.Store("a", f) == nil || m.Barrier(patience) == nil {
		t.Error("a manager that went away has stored something")
	}
}

// TestBarrierTimeout: a manager that does not answer is not waited for.
func TestBarrierTimeout(t *testing.T) {
	m, _ := manager(t)
	if err := m.Barrier(10 * time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

func TestStoreMax(t *testing.T) {
	for text, want := range map[string]int{"": 0, "12": 12, "-1": 0, "x": 0} {
		t.Setenv("FDSTORE", text)
		m, _ := manager(t)
		if n, known := m.StoreMax(); n != want || known != (want > 0) {
			t.Errorf("%q: %d, %t", text, n, known)
		}
	}
}
