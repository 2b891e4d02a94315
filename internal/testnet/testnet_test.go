//go:build linux

package testnet_test

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"capd/internal/testnet"
)

func TestMain(m *testing.M) { os.Exit(testnet.Main(m)) }

func TestVeth(t *testing.T) {
	testnet.Veth(t, "a0", "a1", 9000)
	ifi, err := net.InterfaceByName("a1")
	if err != nil || ifi.MTU != 9000 || ifi.Flags&net.FlagUp == 0 {
		t.Fatalf("a1 is %+v, %v", ifi, err)
	}
	testnet.NewSender(t, "a0").Send(make([]byte, 60))
	testnet.SetUp(t, "a1", false)
	testnet.Rename(t, "a1", "a2")
	testnet.Remove(t, "a2")
	if _, err := net.InterfaceByName("a0"); err == nil {
		t.Fatal("a0 outlived its peer")
	}
}

// TestAwait: what is sent after Await arrives, whatever the interfaces' state was before.
func TestAwait(t *testing.T) {
	testnet.Veth(t, "a0", "a1", 1500)
	s := testnet.NewSender(t, "a0")
	received := func() (n uint64) {
		text, err := os.ReadFile("/proc/self/net/dev")
		if err != nil {
			t.Fatal(err)
		}
		_, line, _ := strings.Cut(string(text), " a1:")
		if _, err := fmt.Sscan(line, new(uint64), &n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	for i := range 200 {
		before := received()
		testnet.SetUp(t, "a1", false)
		if i%2 > 0 {
			time.Sleep(time.Millisecond) // the kernel mostly notices it
		}
		testnet.SetUp(t, "a1", true)
		testnet.Await(t, "a0")
		s.Send(make([]byte, 60))
		if n := received() - before; n != 1 {
			t.Fatalf("%d of 1 frames arrived the %d. time", n, i+1)
		}
	}
}
