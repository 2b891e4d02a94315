package daemon

import (
	"encoding/binary"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"capd/config"
	"capd/ledger"
	"capd/pcap"
	"capd/store"
)

// udpFrame is a numbered UDP datagram of one of many flows. A fragment is the
// first of two; the second is never sent.
func udpFrame(flow byte, n uint32, fragment bool) []byte {
	f := []byte{
		2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0,
		0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, flow, 198, 51, 100, 1,
		0, 1, 0, 2, 0, 26, 0, 0,
	}
	binary.BigEndian.PutUint16(f[18:], uint16(n))
	if fragment {
		f[20] = 0x20 // more fragments
	}
	var sum uint32
	for i := 14; i < 34; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(f[i:]))
	}
	binary.BigEndian.PutUint16(f[24:], ^uint16(sum>>16+sum))
	f = append(f, flow)
	f = binary.BigEndian.AppendUint32(f, n)
	return append(f, make([]byte, 60-len(f))...)
}

// TestFanout: each frame is in a file of one lane, the frames of a flow are in
// one lane and in order, and fragments are unchanged.
func TestFanout(t *testing.T) {
	onFake(t, func(t *testing.T, n network) {
		const lanes, flows, each = 3, 20, 500
		v1 := n.add("v1")
		r := newRig(t, n, func(c *config.Config) { fine(c); c.Fanout = lanes }, "v1")
		r.start(r.options())
		accepted := func() (n uint64) {
			for _, s := range r.d.Status() {
				n += s.Writer.Accepted
			}
			return n
		}
		for n := range uint32(each) {
			for flow := range byte(flows) {
				v1.Send(udpFrame(flow, n, flow == 7))
			}
			r.await("frames", func() bool { return accepted()+500 > uint64(n+1)*flows })
		}
		all := r.end()
		if sum := Sum(all); len(all) != lanes || sum.Written != flows*each || sum.Received != flows*each {
			t.Errorf("%d lanes, %+v", len(all), sum)
		}
		lane := map[byte]int{}
		next := map[byte]uint32{}
		used := map[int]bool{}
		for _, path := range r.files("v1") {
			name, _ := store.ParseName(path[len(r.dir)+1:])
			used[name.Lane] = true
			walk(t, []string{path}, func(p pcap.Packet) {
				flow := p.Data[42]
				n := binary.BigEndian.Uint32(p.Data[43:])
				if n != next[flow] || string(p.Data) != string(udpFrame(flow, n, flow == 7)) {
					t.Fatalf("flow %d: frame %d, want %d: % x", flow, n, next[flow], p.Data)
				}
				next[flow]++
				if lane[flow] == 0 {
					lane[flow] = name.Lane
				}
				if lane[flow] != name.Lane {
					t.Fatalf("flow %d in lanes %d and %d", flow, lane[flow], name.Lane)
				}
			})
		}
		for flow := range byte(flows) {
			if next[flow] != each {
				t.Errorf("flow %d: %d frames", flow, next[flow])
			}
		}
		if len(used) < 2 {
			t.Errorf("files of lanes %v only", used)
		}
	})
}

// TestFanoutReopens: all lanes close an interface that disappears, and open it
// when it is back.
func TestFanoutReopens(t *testing.T) {
	onFake(t, func(t *testing.T, n network) {
		v1 := n.add("v1")
		r := newRig(t, n, func(c *config.Config) { c.Fanout, c.RingSize = 2, config.AutoSize(8*config.MiB) }, "v1")
		r.start(r.options())
		recording := func(want bool) func() bool {
			return func() bool {
				for _, s := range r.d.Status() {
					if (s.State == Recording) != want {
						return false
					}
				}
				return true
			}
		}
		for range 3 {
			r.await("recording", recording(true))
			v1.Remove()
			r.await("waiting", recording(false))
			v1 = n.add("v1")
		}
		r.await("recording", recording(true))
		v1.Send(udpFrame(1, 1, false))
		if sum := Sum(r.end()); sum.Written != 1 {
			t.Errorf("%+v", sum)
		}
	})
}

// TestFilter: only matching frames are recorded, with and without fanout, and
// the expression is in the files and in the ledger.
func TestFilter(t *testing.T) {
	onBoth(t, func(t *testing.T, net network) {
		for _, lanes := range []int{1, 2} {
			v1 := net.add("v1")
			const expr = "udp dst port 2 and not net 192.0.2.3"
			r := newRig(t, net, func(c *config.Config) {
				c.Filter, c.Fanout, c.RingSize, c.Snaplen = expr, lanes, config.AutoSize(8*config.MiB), 50
			}, "v1")
			r.start(r.options())
			for n := range uint32(100) {
				v1.Send(udpFrame(byte(n%5), n, false))
				v1.Send(appendFrame(nil, 1, uint64(n)))
			}
			net.pace()
			if all := r.d.Report().Interfaces; len(all) != 1 || all[0].Filter != expr {
				t.Errorf("status of %+v", all)
			}
			if sum := Sum(r.end()); sum.Written != 80 || sum.Received != 80 {
				t.Errorf("%+v", sum)
			}
			walk(t, r.files("v1"), func(p pcap.Packet) {
				if len(p.Data) != 50 || p.Length != 60 || p.Data[29] == 3 {
					t.Errorf("% x of %d bytes", p.Data, p.Length)
				}
			})
			for _, path := range r.files("v1") {
				h, err := os.Open(path)
				if err != nil {
					t.Fatal(err)
				}
				rd, err := pcap.NewReader(h)
				if err == nil {
					_, err = rd.Next()
				}
				if err != nil || rd.Interface().Filter != expr {
					t.Errorf("%s: filter %q, %v", path, rd.Interface().Filter, err)
				}
				h.Close()
			}
			for e := range ledger.Read(r.dir, nil) {
				if e.Kind == ledger.KindFile && e.Filter != expr {
					t.Errorf("ledger: filter %q", e.Filter)
				}
			}
			verdicts, err := ledger.Judge(ledger.Read(r.dir, nil), ledger.Question{})
			if err != nil || len(verdicts) != 1 || !slices.Equal(verdicts[0].Filters, []string{expr}) {
				t.Errorf("verdicts %+v, %v", verdicts, err)
			}
			v1.Remove()
		}
	})
}

// flows sends numbered frames of many flows, as fast as they are recorded,
// until end is called.
type flows struct {
	sent    atomic.Uint64
	stop    chan struct{}
	stopped chan struct{}
}

// manyFlows is large enough for every lane to get some flows.
const manyFlows = 20

func (r *rig) flows(sender wire) *flows {
	f := &flows{stop: make(chan struct{}), stopped: make(chan struct{})}
	go func() {
		defer close(f.stopped)
		for n := uint64(0); ; n++ {
			select {
			case <-f.stop:
				return
			default:
			}
			sender.Send(udpFrame(byte(n%manyFlows), uint32(n/manyFlows), false))
			f.sent.Store(n + 1)
			if n%100 == 99 {
				r.net.pace()
				for r.behind() > 4000 {
					time.Sleep(time.Millisecond)
				}
			}
		}
	}()
	return f
}

// more waits until 2000 more frames are sent.
func (f *flows) more(r *rig) {
	r.t.Helper()
	before := f.sent.Load()
	r.await("frames", func() bool { return f.sent.Load() > before+2000 })
}

// end ends the flows, waits for the frames, and checks that each is recorded
// once, in one of the lanes.
func (f *flows) end(r *rig, names ...string) {
	r.t.Helper()
	close(f.stop)
	<-f.stopped
	sent := f.sent.Load()
	r.accepted(sent)
	sum := Sum(r.end())
	if sum.Received != sent || sum.Written != sent || sum.KernelDropped+sum.Dropped != 0 {
		r.t.Errorf("sent %d: %+v", sent, sum)
	}
	times := make([]int, sent)
	used := map[int]bool{}
	for _, name := range names {
		for _, path := range r.files(name) {
			file, _ := store.ParseName(path[len(r.dir)+1:])
			used[file.Lane] = true
			walk(r.t, []string{path}, func(p pcap.Packet) {
				flow, n := p.Data[42], binary.BigEndian.Uint32(p.Data[43:])
				if i := uint64(n)*manyFlows + uint64(flow); i < sent && string(p.Data) == string(udpFrame(flow, n, false)) {
					times[i]++
				} else {
					r.t.Errorf("frame %d of flow %d: % x", n, flow, p.Data)
				}
			})
		}
	}
	bad := 0
	for i, n := range times {
		if n != 1 {
			bad++
		}
		if n != 1 && bad < 10 {
			r.t.Errorf("frame %d is there %d times", i, n)
		}
	}
	if bad > 0 || len(used) < 2 {
		r.t.Errorf("of %d frames %d are not there once; lanes %v", sent, bad, used)
	}
}

// TestFanoutReload: over reloads under load, with the same number of lanes,
// more, fewer, and one, every frame is recorded once.
func TestFanoutReload(t *testing.T) {
	onBoth(t, func(t *testing.T, n network) {
		v1 := n.add("v1")
		r := newRig(t, n, func(c *config.Config) { fine(c); c.Fanout = 2 }, "v1")
		r.start(r.options())
		r.await("start", func() bool { return r.states("v1", Recording) == 2 })
		f := r.flows(v1)
		for i, step := range []func(*config.Interface){
			func(i *config.Interface) { i.RingSize *= 2 },
			func(i *config.Interface) { i.Snaplen = 1000 },
			func(i *config.Interface) { i.Fanout = 3 },
			func(i *config.Interface) { i.Filter = "udp" },
			func(i *config.Interface) { i.FanoutMode = config.FanoutCPU },
			func(i *config.Interface) { i.Fanout = 1 },
			func(i *config.Interface) { i.Fanout, i.FanoutMode = 2, config.FanoutFlow },
			func(i *config.Interface) { i.RingSize /= 2 },
		} {
			f.more(r)
			next := r.change(step)
			if err := r.d.Reload(next); err != nil {
				t.Fatal(i, err)
			}
			r.await("the takeover", func() bool { return r.handed() && r.states("v1", Recording) == next.Interfaces[0].Fanout })
		}
		f.more(r)
		f.end(r, "v1")
		verifyVerdict(t, r.dir)
	})
}
