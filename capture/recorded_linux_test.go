package capture_test

import (
	"encoding/hex"
	"slices"
	"testing"
	"time"

	"capd/capture"
	"capd/internal/testnet"
)

// TestDiscardedButRecorded checks that frames which the host takes no interest
// in are none that were lost: the kernel counts them as dropped after captures
// have had them.
func TestDiscardedButRecorded(t *testing.T) {
	const macs = "0180c200000e020000000001"
	for name, header := range map[string]string{
		"QinQ":              macs + "88a80064810000c808004500",
		"LLDP in a tag":     macs + "8100000588cc0207040200000000",
		"PPPoE in a tag":    macs + "810000058864110000010000",
		"MPLS in a tag":     macs + "81000005884700001140",
		"PROFINET in a tag": macs + "8100c0058892fefc",
		"unknown in no tag": macs + "88b50000",
	} {
		t.Run(name, func(t *testing.T) {
			bothModes(t, func(t *testing.T, c capture.Config) {
				testnet.Veth(t, "a0", "a1", 1500)
				c.Interface = "a1"
				_, h := open(t, c)
				f, err := hex.DecodeString(header)
				if err != nil {
					t.Fatal(err)
				}
				f = append(f, make([]byte, 60)...)
				s := testnet.NewSender(t, "a0")
				const sent = 100
				for range sent {
					s.Send(f)
				}
				// The stack drops them some time after the capture had them.
				for deadline := time.Now().Add(time.Second / 2); counted(t, "a1").NICDiscarded < sent && time.Now().Before(deadline); {
					time.Sleep(time.Millisecond)
				}
				h.Refresh()
				st, err := h.Stats()
				if all := stopAndDrain(t, h); len(all) != sent || err != nil || st.NICDropped != 0 || st.Dropped != 0 {
					t.Errorf("%d packets of %d, stats %+v, %v", len(all), sent, st, err)
				}
				t.Logf("the interface discarded %d", st.NICDiscarded)
			})
		})
	}
}

func counted(t *testing.T, name string) capture.NIC {
	t.Helper()
	all, err := capture.Interfaces()
	i := slices.IndexFunc(all, func(i capture.Interface) bool { return i.Name == name })
	if err != nil || i < 0 {
		t.Fatalf("%s is not among %+v, %v", name, all, err)
	}
	return all[i].NIC
}
