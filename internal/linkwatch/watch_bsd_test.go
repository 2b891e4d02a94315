//go:build darwin || freebsd || netbsd || openbsd

package linkwatch

import (
	"os"
	"os/exec"
	"testing"
	"time"
)

// TestAddress: a new address of lo0 is reported.
func TestAddress(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to give lo0 an address")
	}
	w, err := New()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	run := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("ifconfig", args...).CombinedOutput(); err != nil {
			t.Fatalf("ifconfig %q: %v: %s", args, err, out)
		}
	}
	run("lo0", "inet", "127.9.9.9", "netmask", "255.255.255.255", "alias")
	defer run("lo0", "inet", "127.9.9.9", "-alias")
	select {
	case _, ok := <-w.Changed:
		if !ok {
			t.Error("it has ended")
		}
	case <-time.After(20 * time.Second):
		t.Error("not told of an address")
	}
}

// TestCloseEnds: Close ends the goroutine.
func TestCloseEnds(t *testing.T) {
	w, err := New()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	for range w.Changed { // until it is closed
	}
}
