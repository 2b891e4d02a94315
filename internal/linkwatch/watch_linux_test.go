package linkwatch

import (
	"net"
	"os"
	"testing"
	"time"

	"capd/internal/testnet"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	code := testnet.Main(m)
	if code == 0 {
		if err := goleak.Find(); err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			code = 1
		}
	}
	os.Exit(code)
}

func watch(t *testing.T) *Watcher {
	t.Helper()
	testnet.Need(t)
	w, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

// quiet receives pending values until no more arrive.
func (w *Watcher) quiet(t *testing.T) {
	t.Helper()
	for {
		select {
		case _, ok := <-w.Changed:
			if !ok {
				t.Fatal("it has ended")
			}
		case <-time.After(300 * time.Millisecond): // a later value could only make the test pass wrongly
			return
		}
	}
}

// TestChanges: each kind of change is reported.
func TestChanges(t *testing.T) {
	w := watch(t)
	for _, c := range []struct {
		what string
		do   func()
	}{
		{"appears", func() { testnet.Veth(t, "v0", "v1", 1500) }},
		{"goes down", func() { testnet.SetUp(t, "v1", false) }},
		{"is renamed", func() { testnet.Rename(t, "v1", "w1") }},
		{"goes up", func() { testnet.SetUp(t, "w1", true) }},
		{"has another address", func() { testnet.SetAddress(t, "w1", net.HardwareAddr{2, 0, 0, 0, 0, 9}) }},
		{"has another MTU", func() { testnet.SetMTU(t, "w1", 1400) }},
		{"has an alternative name", func() { testnet.AddAltName(t, "w1", "enp3s0f0np0-port-to-core-a") }},
		{"has lost it", func() { testnet.RemoveAltName(t, "w1", "enp3s0f0np0-port-to-core-a") }},
		{"moves to another namespace", func() { testnet.MoveAway(t, "w1") }},
		{"is removed", func() { testnet.Remove(t, "v0") }},
	} {
		w.quiet(t)
		c.do()
		select {
		case <-w.Changed:
		case <-time.After(30 * time.Second):
			t.Errorf("not reported that an interface %s", c.what)
		}
	}
}

// TestOverrun: more messages than the socket holds do not end the Watcher, and result in one
// report.
func TestOverrun(t *testing.T) {
	w := watch(t)
	testnet.Veth(t, "v0", "v1", 1500)
	for i := range 3000 { // Changed is not received from, and holds one value
		testnet.SetMTU(t, "v1", uint32(1000+i%400))
	}
	w.quiet(t)
	testnet.SetUp(t, "v1", false)
	if _, ok := <-w.Changed; !ok {
		t.Fatal("it has ended")
	}
}

func TestClose(t *testing.T) {
	testnet.Need(t)
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
