//go:build linux

package testnet_test

import (
	"net"
	"os"
	"testing"

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
