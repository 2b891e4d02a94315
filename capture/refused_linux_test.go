package capture_test

import (
	"slices"
	"testing"
	"time"

	"capd/capture"
	"capd/internal/testnet"
)

// TestRefusedByNobody checks frames that arrive before a device is admitted or after it was
// stopped. The kernel counts them as dropped by the interface because no socket receives them, but
// they are not losses of the capture.
func TestRefusedByNobody(t *testing.T) {
	bothModes(t, func(t *testing.T, c capture.Config) {
		testnet.Veth(t, "a0", "a1", 1500)
		c.Interface = "a1"
		s := testnet.NewSender(t, "a0")
		some := func() {
			t.Helper()
			for i := range uint32(10) {
				s.Send(numbered(60, i))
			}
		}
		await := func(refused uint64) {
			t.Helper()
			for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
				all, err := capture.Interfaces()
				if err != nil {
					t.Fatal(err)
				}
				i := slices.IndexFunc(all, func(i capture.Interface) bool { return i.Name == "a1" })
				if all[i].NICDiscarded >= refused {
					return
				}
				if time.Now().After(deadline) {
					t.Fatalf("the interface counts %d of %d frames that nobody took", all[i].NICDiscarded, refused)
				}
			}
		}
		some()
		await(10)
		_, h := open(t, c)
		some()
		if got := stopAndDrain(t, h); len(got) != 10 {
			t.Errorf("%d packets of 10", len(got))
		}
		some()
		await(20)
		h.Refresh()
		if st, err := h.Stats(); err != nil || st.NIC != (capture.NIC{}) {
			t.Errorf("stats %+v, %v", st, err)
		}
	})
}
