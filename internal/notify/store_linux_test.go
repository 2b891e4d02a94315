package notify

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"capd/internal/testsystemd"

	"golang.org/x/sys/unix"
)

// inService is an environment variable of the service of TestServiceStore: where it writes what it found.
const inService = "CAPD_STORE_SERVICE"

// The names in the store of that service.
const (
	storedState = "state 1"
	storedPipes = "pipes"
)

const storeUnit = `[Service]
Type=notify
ExecStart=%s -test.run=^TestServiceStore$
Environment=%s=%s
Restart=always
RestartSec=10ms
FileDescriptorStoreMax=4
FileDescriptorStorePreserve=yes
User=nobody
[Unit]
StartLimitIntervalSec=0
`

// TestServiceStore is a service under systemd that is killed again and again, and finds in each
// life what the life before has stored.
func TestServiceStore(t *testing.T) {
	if out := os.Getenv(inService); out != "" {
		if err := serve(out); err != nil {
			t.Fatal(err)
		}
		select {} // until it is killed
	}
	lab := testsystemd.Boot(t)
	lives := filepath.Join(lab.Shared, "lives")
	for name, mode := range map[string]os.FileMode{lab.Shared: 0o755, lives: 0o777} {
		_ = os.Mkdir(name, mode)
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
	}
	binary := filepath.Join(lab.Shared, "service")
	copyFile(t, os.Args[0], binary)
	lab.Write(t, "/etc/systemd/system/store.service", fmt.Sprintf(storeUnit, binary, inService, lives), 0o644)
	lab.Run(t, "systemctl", "daemon-reload")
	lab.Run(t, "systemctl", "start", "store")
	for i, want := range []string{
		"life 1 of [], room, full",
		"life 2 of [pipes: 2, state 1: 1], room, full",
		"life 3 of [pipes: 2, state 1: 1], room, full",
		"life 1 of [pipes: 2], room, full", // life 3 has removed its state
	} {
		name := filepath.Join(lives, fmt.Sprint(i+1))
		lab.Await(t, name, func() bool { _, err := os.Stat(name); return err == nil })
		if got, err := os.ReadFile(name); string(got) != want || err != nil {
			t.Fatalf("%q, %v, want %q\n%s", got, err, want, lab.Run(t, "journalctl", "-b", "-u", "store", "-o", "cat"))
		}
		switch i {
		case 0:
			lab.Run(t, "systemctl", "kill", "--signal=SIGKILL", "store")
		case 1:
			lab.Run(t, "systemctl", "restart", "store")
		case 2:
			lab.Run(t, "systemctl", "daemon-reexec")
			lab.Run(t, "systemctl", "kill", "--signal=SIGABRT", "store")
		}
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

// serve is one life of the service. It counts its lives in a memfd, and has a store with room for
// that, two pipes whose other ends are closed, and one more.
func serve(out string) error {
	m, err := Open()
	if err != nil {
		return err
	}
	found := Inherited()
	var names []string
	for _, name := range []string{storedPipes, storedState} {
		if n := len(found[name]); n > 0 {
			names = append(names, fmt.Sprintf("%s: %d", name, n))
		}
	}
	if len(found) != len(names) {
		return fmt.Errorf("passed: %v", found)
	}
	if len(found[storedPipes]) == 0 {
		for range 2 {
			r, w, err := os.Pipe()
			if err == nil {
				err = m.Store(storedPipes, r)
			}
			if err != nil {
				return err
			}
			r.Close()
			w.Close()
		}
	}
	life, state, err := count(found[storedState])
	if err != nil {
		return err
	}
	if err := m.Store(storedState, state); err != nil { // again: systemd keeps it once
		return err
	}
	text := fmt.Sprintf("life %d of [%s]", life, strings.Join(names, ", "))
	room, err := m.HasRoom(time.Minute)
	if err != nil {
		return err
	}
	if room {
		text += ", room"
	}
	if err := m.Store("more", state, os.Stderr); err != nil {
		return err
	}
	if room, err = m.HasRoom(time.Minute); err != nil {
		return err
	}
	if !room {
		text += ", full"
	}
	if err := m.Remove("more"); err != nil {
		return err
	}
	if life == 3 {
		if err := m.Remove(storedState); err != nil {
			return err
		}
	}
	if err := m.Barrier(time.Minute); err != nil {
		return err
	}
	m.Ready()
	return publish(out, text)
}

// count returns the number of this life, and the memory that has it.
func count(found []*os.File) (uint64, *os.File, error) {
	var b [8]byte
	if len(found) == 0 {
		fd, err := unix.MemfdCreate("state", unix.MFD_CLOEXEC)
		if err != nil {
			return 0, nil, err
		}
		found = []*os.File{os.NewFile(uintptr(fd), "state")}
	} else if _, err := found[0].ReadAt(b[:], 0); err != nil {
		return 0, nil, err
	}
	n := binary.LittleEndian.Uint64(b[:]) + 1
	binary.LittleEndian.PutUint64(b[:], n)
	_, err := found[0].WriteAt(b[:], 0)
	return n, found[0], err
}

// publish writes the text into the next file of the directory, at once.
func publish(dir, text string) error {
	all, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	temporary := filepath.Join(dir, fmt.Sprintf(".%d", len(all)+1))
	if err := os.WriteFile(temporary, []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(temporary, filepath.Join(dir, fmt.Sprint(len(all)+1)))
}
