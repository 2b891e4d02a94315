package daemon

import (
	"capd/capture"
	"capd/pcap"
	"capd/store"
	"capd/writer"
	"hash/maphash"
	"log/slog"
	"sync"
	"time"
)

// A handover lets recorders take an interface over from others without a frame
// lost or recorded twice. The devices of the heirs are open, but let nothing in.
// When every old recorder keeps note of what it reads from then on, frames are
// admitted to the new devices too; then the old ones are stopped and read to
// their end. What was in both rings is known by time, length and contents, and
// left out by the heirs: the kernel stamps a frame once for all sockets.
//
// A kernel that does not has one lock around a frame's way into all devices, and
// serves the newest first. So a frame's time in an old device is the first of its
// like that is not before its time in the new one.
type handover struct {
	snaplen  int           // bytes of a frame that both sides have
	renamed  bool          // the heirs record the interface by another name
	skew     time.Duration // most between the times of a frame; see capture.Device.Skew
	seed     maphash.Seed
	devices  []*capture.Device
	log      *slog.Logger
	admitted chan struct{} // closed: frames come to the new devices
	done     chan struct{} // closed: the old recorders have read all of theirs

	mu     sync.Mutex // guards what follows
	absent int        // old recorders that do not keep note yet
	here   int        // and those that have not ended
	since  time.Time  // frames from before are in no new ring
	seen   map[frameID]int
	times  map[frameID][]int64 // with a skew, in its place: when those that are alike were seen, in order
	last   time.Time           // of these
	ends   map[int]writer.End  // by the lanes' numbers
}

// A frameID tells frames apart. With a skew the time is left out.
type frameID struct {
	sec, nsec, length uint32
	sum               uint64
}

// late is how much later than its time a frame may come to a ring.
const late = time.Second

func newHandover(old int, snaplen int, log *slog.Logger) *handover {
	return &handover{
		snaplen: snaplen, seed: maphash.MakeSeed(), log: log, absent: old, here: old,
		admitted: make(chan struct{}), done: make(chan struct{}),
		seen: make(map[frameID]int), times: make(map[frameID][]int64), ends: make(map[int]writer.End),
	}
}

// arrive tells that an old recorder notes what it reads from now on.
func (h *handover) arrive() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.since.IsZero() {
		h.since = time.Now().Add(-late)
	}
	if h.absent--; h.absent > 0 {
		return
	}
	for _, d := range h.devices {
		if err := d.Admit(); err != nil {
			h.log.Error("frames are lost: the interface opened anew takes none", "error", err)
		}
	}
	close(h.admitted)
}

// finish tells that an old recorder has read all.
func (h *handover) finish(lane store.Lane, end writer.End) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.renamed {
		end.Sequence = 0 // of other names
	}
	h.ends[lane.Number] = end
	if h.here--; h.here == 0 {
		close(h.done)
	}
}

func (h *handover) id(p *pcap.Packet) frameID {
	sum := maphash.Bytes(h.seed, p.Data[:min(len(p.Data), h.snaplen)])
	if h.skew > 0 {
		return frameID{length: p.Length, sum: sum}
	}
	return frameID{p.Sec, p.Nsec, p.Length, sum}
}

// add remembers a frame. The caller holds mu.
func (h *handover) add(p *pcap.Packet) {
	id := h.id(p)
	if h.skew > 0 {
		h.times[id] = append(h.times[id], p.Time().UnixNano())
	} else {
		h.seen[id]++
	}
}

// take reports whether a frame of a new device was seen, and forgets it. The
// caller holds mu.
func (h *handover) take(p *pcap.Packet) bool {
	id := h.id(p)
	if h.skew > 0 {
		return h.takeNear(id, p.Time().UnixNano())
	}
	n := h.seen[id]
	if n > 1 {
		h.seen[id] = n - 1
	} else {
		delete(h.seen, id)
	}
	return n > 0
}

// takeNear is take for a time that may be off. What was seen before it is in no
// new device, or has been taken: times only grow.
func (h *handover) takeNear(id frameID, t int64) bool {
	times := h.times[id]
	for len(times) > 0 && times[0] < t {
		times = times[1:]
	}
	found := len(times) > 0 && times[0] <= t+int64(h.skew)
	if found {
		times = times[1:]
	}
	if h.times[id] = times; len(times) == 0 {
		delete(h.times, id)
	}
	return found
}

// note remembers frames that an old recorder has.
func (h *handover) note(pkts []pcap.Packet) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range pkts {
		t := pkts[i].Time()
		if t.Before(h.since) {
			continue
		}
		h.add(&pkts[i])
		if t.After(h.last) {
			h.last = t
		}
	}
}

// fresh moves the frames that no old recorder has to the front and returns
// them, and whether there may be more that one has.
func (h *handover) fresh(pkts []pcap.Packet) (new []pcap.Packet, more bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	new = pkts[:0]
	for i := range pkts {
		if !h.take(&pkts[i]) {
			new = append(new, pkts[i])
		}
	}
	more = len(h.seen)+len(h.times) > 0 && !pkts[len(pkts)-1].Time().After(h.last.Add(late))
	return new, more
}
