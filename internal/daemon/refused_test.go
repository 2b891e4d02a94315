package daemon

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"capd/capture/fake"
	"capd/config"
	"capd/ledger"
)

// TestReloadRefused: a reload whose filter the kernel has no memory for is an
// error, and the old recording goes on without a gap.
func TestReloadRefused(t *testing.T) {
	onVeth(t, func(t *testing.T, n network) {
		v1 := n.add("v1")
		r := newRig(t, n, nil, "v1")
		r.start(r.options())
		r.await("start", func() bool { return r.status("v1").State == Recording })
		v1.Send(appendFrame(nil, 1, 0))
		r.accepted(1)
		const limit = "/proc/sys/net/core/optmem_max" // of the namespace since Linux 6.8
		was, _ := os.ReadFile(limit)
		if err := os.WriteFile(limit, []byte("5000"), 0); err != nil {
			t.Skip("the limit can't be set for the namespace: ", err)
		}
		defer func() { _ = os.WriteFile(limit, was, 0) }()
		for _, fanout := range []int{1, 2} {
			next := r.change(func(i *config.Interface) { i.Filter, i.Fanout = manyHosts(300), fanout })
			if err := r.d.Reload(next); err == nil || !strings.Contains(err.Error(), "net.core.optmem_max") {
				t.Errorf("fanout %d: %v", fanout, err)
			}
		}
		v1.Send(appendFrame(nil, 1, 1))
		r.accepted(2)
		r.end()
		verify(t, r.files("v1"), 1, 2, 0)
		if gaps := r.gaps(); len(gaps) > 0 {
			t.Errorf("%+v", gaps)
		}
	})
}

// manyHosts is an expression that names so many hosts.
func manyHosts(n int) string {
	hosts := make([]string, n)
	for i := range hosts {
		hosts[i] = fmt.Sprintf("host 10.0.%d.%d", i/250, i%250)
	}
	return strings.Join(hosts, " or ")
}

// gaps returns the gaps in the ledger that have ended.
func (r *rig) gaps() (all []ledger.Entry) {
	r.t.Helper()
	for e, err := range ledger.Read(r.dir, nil) {
		if err != nil {
			r.t.Fatal(err)
		}
		if e.Kind == ledger.KindGap && !e.End.IsZero() {
			all = append(all, e)
		}
	}
	return all
}

// TestReloadNotAdmitted: new devices that let no frame in are opened again, all
// lanes together, and the gap is in the ledger.
func TestReloadNotAdmitted(t *testing.T) {
	for _, fanout := range []int{1, 3} {
		onFake(t, func(t *testing.T, n network) {
			v1 := n.add("v1")
			r := newRig(t, n, nil, "v1")
			r.cfg.Interfaces[0].Fanout = fanout
			r.start(r.options())
			r.await("start", func() bool { return r.status("v1").State == Recording })
			v1.Send(appendFrame(nil, 1, 0))
			r.accepted(1)
			v1.(fakeWire).Fail(fake.AtAdmit, syscall.ENOMEM)
			if err := r.d.Reload(r.change(func(i *config.Interface) { i.Snaplen = 60_000 })); err != nil {
				t.Fatal(err)
			}
			r.await("the new recorders", func() bool {
				for _, s := range r.d.Status() {
					if s.State != Recording {
						return false
					}
				}
				return r.handed() && len(r.d.set.members()) == fanout
			})
			time.Sleep(time.Second)
			v1.Send(appendFrame(nil, 1, 1))
			r.accepted(2)
			r.end()
			if gaps := r.gaps(); len(gaps) != 1 || gaps[0].Cause != ledger.CauseRefused || !strings.Contains(gaps[0].Why, syscall.ENOMEM.Error()) {
				t.Errorf("fanout %d: gaps %+v", fanout, gaps)
			}
		})
	}
}
