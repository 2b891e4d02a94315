package daemon

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"capd/capture"
	"capd/config"
	"capd/ledger"
	"capd/pcap"
	"capd/store"
)

// A stream sends numbered frames until it is ended, as fast as they are
// recorded, whatever the machine's load and the interface's name are.
type stream struct {
	number  byte
	sent    atomic.Uint64
	stop    chan struct{}
	stopped chan struct{}
}

func (r *rig) stream(sender wire, number byte) *stream {
	s := &stream{number: number, stop: make(chan struct{}), stopped: make(chan struct{})}
	go func() {
		defer close(s.stopped)
		var frame []byte
		for n := uint64(0); ; n++ {
			select {
			case <-s.stop:
				return
			default:
			}
			frame = appendFrame(frame[:0], number, n)
			sender.Send(frame)
			s.sent.Store(n + 1)
			if n%100 == 99 {
				r.net.pace()
				for r.behind() > 4000 {
					time.Sleep(time.Millisecond)
				}
			}
		}
	}()
	return s
}

// behind returns how many frames were received and not yet accepted by the
// writer.
func (r *rig) behind() (n uint64) {
	for _, s := range r.d.Status() {
		n += s.Received - min(s.Received, s.Writer.Accepted+s.KernelDropped+s.Dropped)
	}
	return n
}

// more waits until 300 more frames are sent.
func (s *stream) more(r *rig) {
	r.t.Helper()
	before := s.sent.Load()
	r.await("frames", func() bool { return s.sent.Load() > before+300 })
}

func (s *stream) end() uint64 {
	close(s.stop)
	<-s.stopped
	return s.sent.Load()
}

// accepted waits until the writers have accepted that many frames.
func (r *rig) accepted(n uint64) {
	r.t.Helper()
	r.await(fmt.Sprint(n, " frames"), func() bool {
		var got uint64
		for _, s := range r.d.Status() {
			got += s.Writer.Accepted
		}
		return got >= n
	})
}

// numberOf returns the number of a frame made by appendFrame.
func numberOf(p pcap.Packet) uint64 { return binary.BigEndian.Uint64(p.Data[15:]) }

// once checks that the files together have each of the frames 0 to count-1 of
// the stream once.
func once(t *testing.T, paths []string, number byte, count uint64) {
	t.Helper()
	times := make([]int, count)
	walk(t, paths, func(p pcap.Packet) {
		if p.Data[14] != number {
			return
		}
		n := numberOf(p)
		if n >= count || !slices.Equal(p.Data, appendFrame(nil, number, n)) {
			t.Fatalf("stream %d: % x", number, p.Data[:min(28, len(p.Data))])
		}
		times[n]++
	})
	lost, twice := 0, 0
	for n, k := range times {
		if k == 0 {
			lost++
		}
		if k > 1 {
			twice++
		}
		if k != 1 && lost+twice < 5 {
			t.Errorf("stream %d: frame %d is there %d times", number, n, k)
		}
	}
	if lost+twice > 0 {
		t.Errorf("stream %d: of %d frames %d lost, %d twice", number, count, lost, twice)
	}
}

// rename renames an interface, which may be up, and waits until it is recorded
// under its new name.
func (r *rig) rename(w wire, from, to string) {
	r.t.Helper()
	w.Rename(to)
	r.await(to, func() bool { return r.status(to).State == Recording && r.status(from).State != Recording && r.handed() })
}

// TestRename: under load an interface gets names that match a glob and names
// that have settings of their own. No frame is lost or duplicated.
func TestRename(t *testing.T) {
	onBoth(t, func(t *testing.T, n network) {
		v1 := n.add("v1")
		r := newRig(t, n, fine, "v*", "lan")
		r.cfg.Interfaces[1].Snaplen = 100_000
		r.start(r.options())
		r.await("start", func() bool { return r.status("v1").State == Recording && r.status("lan").State == Waiting })
		s := r.stream(v1, 1)
		names := []string{"v1", "v2", "lan", "v1", "lan", "v3", "v1"}
		for i, name := range names[1:] {
			s.more(r)
			r.rename(v1, names[i], name)
		}
		s.more(r)
		sent := s.end()
		r.accepted(sent)
		sum := Sum(r.end())
		if sum.Received != sent || sum.Written != sent || sum.KernelDropped+sum.Dropped != 0 {
			t.Errorf("sent %d: %+v", sent, sum)
		}
		once(t, slices.Concat(r.files("v1"), r.files("v2"), r.files("v3"), r.files("lan")), 1, sent)
		for e, err := range ledger.Read(r.dir, nil) {
			if err != nil || e.Kind == ledger.KindGap && e.Interface != "lan" || e.CapdDropped+e.KernelDropped > 0 {
				t.Errorf("%+v, %v", e, err)
			}
			if e.Kind == ledger.KindFile && e.Reason != ledger.ReasonLink && e.Reason != ledger.ReasonShutdown {
				t.Errorf("%s ended for %s", e.Name, e.Reason)
			}
		}
		if n := strings.Count(r.log.String(), "interface was renamed"); n != len(names)-1 {
			t.Errorf("%d renamings in the log, want %d", n, len(names)-1)
		}
	})
}

// TestRenameLanes is TestRename with fanout.
func TestRenameLanes(t *testing.T) {
	onBoth(t, func(t *testing.T, n network) {
		v1 := n.add("v1")
		r := newRig(t, n, func(c *config.Config) { fine(c); c.Fanout = 2 }, "v*")
		r.start(r.options())
		r.await("start", func() bool { return r.states("v1", Recording) == 2 })
		f := r.flows(v1)
		names := []string{"v1", "v2", "v1", "v3"}
		for _, name := range names[1:] {
			f.more(r)
			v1.Rename(name)
			r.await(name, func() bool { return r.states(name, Recording) == 2 && r.handed() })
		}
		f.more(r)
		f.end(r, "v1", "v2", "v3")
	})
}

// TestRenameExchanged: two interfaces exchange their names between two looks of
// the daemon.
func TestRenameExchanged(t *testing.T) {
	onBoth(t, func(t *testing.T, n network) {
		a, b := n.add("v0"), n.add("v1")
		r := newRig(t, n, fine, "v0", "v1")
		r.start(r.options())
		r.await("start", func() bool { return r.status("v0").State == Recording && r.status("v1").State == Recording })
		streams := []*stream{r.stream(a, 1), r.stream(b, 2)}
		for range 5 {
			streams[0].more(r)
			streams[1].more(r)
			index := a.Index()
			r.d.manager.changing.Lock() // so that no look sees only half of the exchange, when frames are not recorded
			a.Rename("between")
			b.Rename("v0")
			a.Rename("v1")
			a, b = b, a
			r.d.manager.changing.Unlock()
			r.await("the exchange", func() bool { return r.holds("v1", index) && r.handed() })
		}
		var sent [2]uint64
		for i, s := range streams {
			sent[i] = s.end()
		}
		r.accepted(sent[0] + sent[1])
		sum := Sum(r.end())
		if sum.Received != sent[0]+sent[1] || sum.Written != sum.Received {
			t.Errorf("sent %d: %+v", sent, sum)
		}
		files := slices.Concat(r.files("v0"), r.files("v1"))
		once(t, files, 1, sent[0])
		once(t, files, 2, sent[1])
		for e := range ledger.Read(r.dir, nil) {
			if e.Kind == ledger.KindGap {
				t.Errorf("%+v", e)
			}
		}
	})
}

// TestRenameAway: if the new name is not recorded, the file ends, and another
// interface of the old name is recorded when it appears.
func TestRenameAway(t *testing.T) {
	onFake(t, func(t *testing.T, n network) {
		v1 := n.add("v1")
		r := newRig(t, n, nil, "v1")
		r.start(r.options())
		v1.Send(appendFrame(nil, 1, 0))
		r.await("frame", func() bool { return r.status("v1").Writer.Accepted == 1 })
		v1.Rename("other")
		r.await("waiting", func() bool { return r.status("v1").State == Waiting && r.status("v1").Writer.Files == 1 })
		v1.Send(appendFrame(nil, 1, 1)) // on an interface that is no longer recorded
		q := n.add("v1")
		r.await("the other one", func() bool { return r.status("v1").State == Recording })
		q.Send(appendFrame(nil, 1, 1))
		r.await("frame", func() bool { return r.status("v1").Writer.Accepted == 2 })
		r.end()
		verify(t, r.files("v1"), 1, 2, 0)
		var causes []ledger.Cause
		for e := range ledger.Read(r.dir, nil) {
			if e.Kind == ledger.KindGap && !e.End.IsZero() {
				causes = append(causes, e.Cause)
			}
		}
		if len(causes) != 1 || causes[0] != ledger.CauseAbsent {
			t.Errorf("gaps for %q", causes)
		}
		if n := strings.Count(r.log.String(), "interface was renamed, and its new name is not recorded"); n != 1 {
			t.Errorf("the log says so %d times", n)
		}
	})
}

// TestRenameDown: an interface that is down while it is renamed, as older
// kernels require, is recorded when it is up again.
func TestRenameDown(t *testing.T) {
	onFake(t, func(t *testing.T, n network) {
		for _, lanes := range []int{1, 2} {
			v1 := n.add("v1")
			r := newRig(t, n, func(c *config.Config) { c.Fanout, c.RingSize = lanes, config.AutoSize(8*config.MiB) }, "v*")
			r.start(r.options())
			r.await("start", func() bool { return r.states("v1", Recording) == lanes })
			v1.SetUp(false)
			v1.Rename("v2")
			v1.SetUp(true)
			r.await("new name", func() bool { return r.states("v2", Recording) == lanes })
			for n := range uint64(10) {
				v1.Send(appendFrame(nil, 1, n))
			}
			if sum := Sum(r.end()); sum.Written != 10 {
				t.Errorf("%d lanes: %+v", lanes, sum)
			}
			once(t, r.files("v2"), 1, 10)
			v1.Remove()
		}
	})
}

// states returns how many recorders of the interface are in that state.
func (r *rig) states(name string, want State) (n int) {
	for _, s := range r.d.Status() {
		if s.Interface == name && s.State == want {
			n++
		}
	}
	return n
}

// holds reports whether the recorder of that name has the device of that index.
func (r *rig) holds(name string, index int) bool {
	m := r.d.set.at(store.Lane{Interface: name})
	return m != nil && m.Index() == index && m.Status().State == Recording
}

// TestAnyStays: recording of all interfaces together continues, whatever is
// renamed.
func TestAnyStays(t *testing.T) {
	onFake(t, func(t *testing.T, n network) {
		v1 := n.add("v1")
		r := newRig(t, n, nil, capture.Any)
		r.start(r.options())
		r.await("start", func() bool { return r.status(capture.Any).State == Recording })
		v1.Send(appendFrame(nil, 1, 0))
		r.await("frame", func() bool { return r.status(capture.Any).Writer.Accepted > 0 })
		file, before := r.status(capture.Any).Writer.File, r.status(capture.Any).Writer.Accepted
		v1.Rename("v2")
		r.await("a look", func() bool { _, ok := r.d.manager.interfaces.there()["v2"]; return ok })
		v1.Send(appendFrame(nil, 1, 1))
		r.await("frame", func() bool { return r.status(capture.Any).Writer.Accepted > before })
		if now := r.status(capture.Any).Writer.File; now != file {
			t.Errorf("from %s to %s", file, now)
		}
		r.end()
	})
}
