package recorder

import (
	"log/slog"
	"os"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"capd/internal/restart"
	"capd/pcap"
	"capd/store"
	"capd/writer"
)

// A keeper keeps descriptors as a service manager does.
type keeper map[string]*os.File

func (k keeper) Store(name string, files ...*os.File) error {
	for _, f := range files {
		fd, err := syscall.Dup(int(f.Fd()))
		if err != nil {
			return err
		}
		k[name] = os.NewFile(uintptr(fd), name)
	}
	return nil
}

func (k keeper) Remove(name string) error {
	err := k[name].Close()
	delete(k, name)
	return err
}

// TestTakeoverGoesOn: a process that goes on with the takeover of an earlier one, which was killed when both rings got
// frames, leaves out what the old ring has, though it begins long after. What the old ring dropped is recorded.
func TestTakeoverGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := make(keeper)
		group := restart.NewGroup()
		seen, err := restart.NewSeen(k, group)
		if err != nil {
			t.Fatal(err)
		}
		first := NewTakeover(1, 100, false)
		first.Survive(seen)
		first.join() // the new ring gets frames from now on
		const each = 100
		var all []pcap.Packet
		arrive := func() {
			for range each {
				time.Sleep(time.Millisecond)
				all = append(all, frameAt(byte(len(all)%256), time.Now().UnixMicro()))
			}
		}
		arrive() // the old ring is read up to here
		first.remember(slices.Clone(all))
		arrive()
		time.Sleep(3 * late)

		_, inherited, _ := restart.Inherit(k, k.files(), slog.New(slog.DiscardHandler))
		next := NewTakeover(1, 100, false)
		next.Survive(inherited[group])
		next.join()
		arrive()
		dropped := func(p pcap.Packet) bool { return p.Data[0]%10 == 0 }
		var want []pcap.Packet
		for _, p := range all[each:] {
			if dropped(p) {
				want = append(want, p)
			}
		}
		next.remember(slices.DeleteFunc(slices.Clone(all[each:]), dropped))
		next.leave(store.Lane{}, writer.End{})
		before := len(all)
		arrive() // only the new ring is there
		want = append(want, all[before:]...)
		own, _ := next.fresh(all)
		if !slices.EqualFunc(own, want, func(a, b pcap.Packet) bool { return a.Time().Equal(b.Time()) }) {
			t.Errorf("%d frames are the new ring's, want %d", len(own), len(want))
		}
		inherited[group].Forget()
		if len(k) != 0 {
			t.Errorf("left: %v", k)
		}
	})
}

// files returns what the next process gets, of which the keeper keeps nothing.
func (k keeper) files() (all []restart.File) {
	for name, f := range k {
		all = append(all, restart.File{Name: name, File: f})
	}
	return all
}
