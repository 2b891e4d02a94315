package capture_test

import (
	"os"
	"slices"
	"testing"

	"capd/capture"
	"capd/internal/testnet"
)

// TestConformance applies the checks to real devices.
func TestConformance(t *testing.T) {
	testnet.Need(t)
	for _, m := range modes {
		for _, c := range conformance {
			t.Run(m.name+", "+c.name, func(t *testing.T) {
				testnet.Veth(t, "a0", "a1", 1500)
				c.check(t, &vethRig{t: t, name: "a1", noRing: m.noRing, number: testnet.Index(t, "a1"), sender: testnet.NewSender(t, "a0")})
			})
		}
	}
}

// A vethRig is one end of a veth pair. The other end sends the frames.
type vethRig struct {
	t      *testing.T
	name   string
	noRing bool
	number int
	sender *testnet.Sender
}

func (r *vethRig) config() capture.Config { return small(r.name, r.noRing) }

func (r *vethRig) open(c capture.Config, n int) ([]*capture.Device, error) {
	return capture.OpenGroup(withAccounts(c), n, capture.ByFlow)
}

func (r *vethRig) adopt(c capture.Config, f *os.File, at capture.Position) (*capture.Device, error) {
	return capture.Adopt(c, f, at)
}

// crash does nothing: a check does not use a device any more after that. TestKilled ends processes.
func (r *vethRig) crash() {}

func (r *vethRig) send(frames ...[]byte) {
	for _, f := range frames {
		r.sender.Send(f)
	}
}

func (r *vethRig) setUp(up bool) {
	if !up {
		testnet.Arrive(r.t)
	}
	testnet.SetUp(r.t, r.name, up)
	if up {
		testnet.Await(r.t, "a0")
	}
}

func (r *vethRig) rename(name string) {
	testnet.Rename(r.t, r.name, name)
	r.name = name
}

func (r *vethRig) remove() {
	testnet.Arrive(r.t)
	testnet.Remove(r.t, r.name)
}

func (r *vethRig) index() int { return r.number }

func (r *vethRig) refused() uint64 {
	all, err := capture.Interfaces()
	if err != nil {
		r.t.Fatal(err)
	}
	return all[slices.IndexFunc(all, func(i capture.Interface) bool { return i.Name == r.name })].NICDiscarded
}
