package recorder

import (
	"hash/maphash"
	"log/slog"
	"sync"
	"time"

	"capd/capture"
	"capd/pcap"
	"capd/store"
	"capd/writer"
)

// A Takeover lets recorders take an interface over from others without a frame
// lost or recorded twice. The devices of the successors are open, but let
// nothing in. When every predecessor remembers what it reads from then on,
// frames are admitted to the new devices too; then the old ones are stopped and
// read to their end. What was in both rings is known by time, length and
// contents, and left out by the successors: the kernel stamps a frame once for
// all sockets.
//
// A kernel that does not has one lock around a frame's way into all devices, and
// serves the newest first. So a frame's time in an old device is the first of its
// like that is not before its time in the new one.
type Takeover struct {
	renamed  bool              // the successors record the interface by another name
	log      *slog.Logger      // of the predecessors
	admitted chan struct{}     // closed: frames come to the new devices
	done     chan struct{}     // closed: the predecessors have read all of theirs
	devices  []*capture.Device // complete before a predecessor joins

	mu     sync.Mutex // guards what follows; nothing is called under it
	absent int        // predecessors that do not remember what they read yet
	here   int        // and those that have not ended
	frames frames
	ends   map[int]writer.End // by the lanes' numbers
}

// late is how much later than its time a frame may come to a ring.
const late = time.Second

// NewTakeover makes a takeover from so many predecessors. Both sides have
// snaplen bytes of a frame. With renamed the successors record the interface by
// another name.
func NewTakeover(predecessors int, snaplen int, renamed bool, log *slog.Logger) *Takeover {
	return &Takeover{
		renamed: renamed, log: log, absent: predecessors, here: predecessors,
		admitted: make(chan struct{}), done: make(chan struct{}),
		frames: newFrames(snaplen), ends: make(map[int]writer.End),
	}
}

// add adds a successor's device, before any predecessor takes part.
func (t *Takeover) add(d *capture.Device) {
	t.devices = append(t.devices, d)
	t.frames.skew = d.Skew()
}

// Absent takes the part of a predecessor that has ended.
func (t *Takeover) Absent(lane store.Lane) {
	t.join()
	t.leave(lane, writer.End{})
}

// join tells that a predecessor remembers what it reads from now on. The last
// one to say so lets frames into the new devices.
func (t *Takeover) join() {
	if !t.remembered() {
		return
	}
	for _, d := range t.devices {
		if err := d.Admit(); err != nil {
			t.log.Error("frames are lost: the interface opened anew takes none", "error", err)
		}
	}
	close(t.admitted)
}

// remembered counts a predecessor that remembers what it reads, and reports
// whether it is the last one.
func (t *Takeover) remembered() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.frames.since.IsZero() {
		t.frames.since = time.Now().Add(-late)
	}
	t.absent--
	return t.absent == 0
}

// admits reports whether the new devices take what comes.
func (t *Takeover) admits() bool {
	select {
	case <-t.admitted:
		return true
	default:
		return false
	}
}

// leave tells that a predecessor has read all, and where its files ended.
func (t *Takeover) leave(lane store.Lane, end writer.End) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.renamed {
		end.Sequence = 0 // of other names
	}
	t.ends[lane.Number] = end
	if t.here--; t.here == 0 {
		close(t.done)
	}
}

// wait waits until the predecessors have read all, and returns where the files
// of the lane ended.
func (t *Takeover) wait(lane store.Lane) writer.End {
	<-t.done
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ends[lane.Number]
}

// remember remembers frames that a predecessor has.
func (t *Takeover) remember(pkts []pcap.Packet) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.frames.add(pkts)
}

// fresh moves the frames that no predecessor has to the front and returns them,
// and whether there may be more that one has.
func (t *Takeover) fresh(pkts []pcap.Packet) (own []pcap.Packet, more bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.frames.fresh(pkts)
}

// frames are those that the predecessors of a takeover have read and the
// successors have not met.
type frames struct {
	snaplen int           // bytes of a frame that both sides have
	skew    time.Duration // most between the times of a frame; see capture.Device.Skew
	seed    maphash.Seed
	since   time.Time // frames from before are in no new ring
	seen    map[frameID]int
	times   map[frameID][]int64 // with a skew, in place of seen: when those that are alike were seen, in order
	last    time.Time           // of these
}

// A frameID tells frames apart. With a skew the time is left out.
type frameID struct {
	sec, nsec, length uint32
	sum               uint64
}

func newFrames(snaplen int) frames {
	return frames{snaplen: snaplen, seed: maphash.MakeSeed(), seen: make(map[frameID]int), times: make(map[frameID][]int64)}
}

func (f *frames) id(p *pcap.Packet) frameID {
	sum := maphash.Bytes(f.seed, p.Data[:min(len(p.Data), f.snaplen)])
	if f.skew > 0 {
		return frameID{length: p.Length, sum: sum}
	}
	return frameID{p.Sec, p.Nsec, p.Length, sum}
}

// add remembers frames of an old device.
func (f *frames) add(pkts []pcap.Packet) {
	for i := range pkts {
		t := pkts[i].Time()
		if t.Before(f.since) {
			continue
		}
		id := f.id(&pkts[i])
		if f.skew > 0 {
			f.times[id] = append(f.times[id], t.UnixNano())
		} else {
			f.seen[id]++
		}
		if t.After(f.last) {
			f.last = t
		}
	}
}

// fresh moves the frames of a new device that were not seen to the front and
// returns them, and whether there may be more that were.
func (f *frames) fresh(pkts []pcap.Packet) (own []pcap.Packet, more bool) {
	own = pkts[:0]
	for i := range pkts {
		if !f.remove(&pkts[i]) {
			own = append(own, pkts[i])
		}
	}
	more = len(f.seen)+len(f.times) > 0 && !pkts[len(pkts)-1].Time().After(f.last.Add(late))
	return own, more
}

// remove reports whether a frame of a new device was seen, and forgets it.
func (f *frames) remove(p *pcap.Packet) bool {
	id := f.id(p)
	if f.skew > 0 {
		return f.removeNear(id, p.Time().UnixNano())
	}
	n := f.seen[id]
	if n > 1 {
		f.seen[id] = n - 1
	} else {
		delete(f.seen, id)
	}
	return n > 0
}

// removeNear is remove for a time that may be off. What was seen before it is in
// no new device, or has been removed: times only grow.
func (f *frames) removeNear(id frameID, t int64) bool {
	times := f.times[id]
	for len(times) > 0 && times[0] < t {
		times = times[1:]
	}
	found := len(times) > 0 && times[0] <= t+int64(f.skew)
	if found {
		times = times[1:]
	}
	if f.times[id] = times; len(times) == 0 {
		delete(f.times, id)
	}
	return found
}

// An exit is a recorder's part in the takeover from it.
type exit struct {
	mu       sync.Mutex // guards what follows, for assignments only
	takeover *Takeover  // nil: the recorder was not told to leave
	over     bool       // the recorder takes part in none any more
	end      writer.End // where its files ended, by then
}

// begin has the recorder take part in the takeover. If it has ended, the
// takeover learns here where.
func (x *exit) begin(t *Takeover, lane store.Lane) {
	x.mu.Lock()
	x.takeover = t
	over, end := x.over, x.end
	x.mu.Unlock()
	if over {
		t.join()
		t.leave(lane, end)
	}
}

// get returns the takeover that the recorder takes part in; nil for none.
func (x *exit) get() *Takeover {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.takeover
}

// conclude returns the same, for the last time: a takeover that begins after it
// learns of this end.
func (x *exit) conclude(end writer.End) *Takeover {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.over, x.end = true, end
	return x.takeover
}

// A handoff is what the goroutine of a recorder does for the takeover from it.
type handoff struct {
	exit   *exit
	joined *Takeover // that remembers what is read; nil for none
}

// ready takes part in the takeover, if there is one, and reports whether the
// device may be stopped: when the successors' take what comes.
func (h *handoff) ready() bool {
	t := h.exit.get()
	if t == nil {
		return true
	}
	h.join(t)
	return t.admits()
}

// join begins to remember what is read.
func (h *handoff) join(t *Takeover) {
	if h.joined == nil {
		h.joined = t
		t.join()
	}
}

// remember remembers what is read, if a takeover wants it.
func (h *handoff) remember(pkts []pcap.Packet) {
	if h.joined != nil {
		h.joined.remember(pkts)
	}
}

// end lets successors begin.
func (h *handoff) end(lane store.Lane, end writer.End) {
	if t := h.exit.conclude(end); t != nil {
		h.join(t)
		t.leave(lane, end)
	}
}
