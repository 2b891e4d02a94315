package recorder

import (
	"errors"
	"fmt"
	"hash/crc32"
	"sync"
	"time"

	"capd/capture"
	"capd/internal/restart"
	"capd/pcap"
	"capd/store"
	"capd/writer"
)

// A Takeover hands an interface from its recorders (the predecessors) to new
// ones (the successors), so that no frame is lost or recorded twice. The
// successors' devices are open but admit no frame. Once every predecessor
// remembers the frames that it reads, the new devices admit frames too; then
// the old devices are stopped and read to their end. A frame may be in both
// rings. The successors recognize it by time, length and contents, and leave it
// out: the kernel stamps a frame once for all sockets.
//
// A kernel that stamps a frame for each device delivers it to all devices under
// one lock, the newest device first. So the time of a frame in an old device is
// the first of all frames with the same contents that is not before its time in
// the new device.
type Takeover struct {
	renamed  bool              // the successors record the interface under another name
	admitted chan struct{}     // closed when the new devices admit frames
	done     chan struct{}     // closed when the predecessors have read all their frames
	seen     *restart.Seen     // the frames for a process that goes on with the takeover; nil: none does
	devices  []*capture.Device // of the successors; complete before a predecessor joins
	refused  error             // why a new device admits no frame; set before admitted is closed, and then never again

	overlap time.Time // the old devices are read until then; set before admitted is closed

	mu     sync.Mutex // guards what follows; no other lock is taken while it is held
	absent int        // predecessors that do not remember their frames yet
	here   int        // predecessors that have not ended
	frames frames
	ends   map[int]writer.End // where the predecessors' files ended, by lane number
}

// overlap is how long both devices admit frames, at least. With a kernel whose clock ticks every 10 ms, frames
// with the same contents often have the same time, too. Those of a tick are told apart by their number, which is
// exact as long as the old device is not stopped in the tick in which the new one begins.
const overlap = 20 * time.Millisecond

// late is the longest time between a frame's timestamp and its arrival in a
// ring.
const late = time.Second

// NewTakeover makes a takeover from a number of predecessors. Both sides
// capture at least snaplen bytes of a frame. If renamed is set, the successors
// record the interface under another name.
func NewTakeover(predecessors int, snaplen int, renamed bool) *Takeover {
	return &Takeover{
		renamed: renamed, absent: predecessors, here: predecessors,
		admitted: make(chan struct{}), done: make(chan struct{}),
		frames: newFrames(snaplen), ends: make(map[int]writer.End),
	}
}

// Survive makes the takeover one with which another process can go on, and this
// one go on with that of an earlier process. It must be called before any
// predecessor joins.
func (t *Takeover) Survive(seen *restart.Seen) {
	t.seen = seen
	for _, id := range seen.All() {
		t.frames.recall(id)
	}
	if t.here == 0 {
		close(t.admitted)
		close(t.done)
	}
}

// expects reports whether there are predecessors that have not ended. With none of them, nobody would admit frames to
// a device that admits none.
func (t *Takeover) expects() bool {
	if t == nil {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.here > 0
}

// add adds a successor's device. It must be called before any predecessor
// joins. A device that an earlier process has opened may admit frames already.
func (t *Takeover) add(d *capture.Device, adopted bool) {
	if !adopted || d.Adopted().Gated {
		t.devices = append(t.devices, d)
	}
	t.frames.skew = d.Skew()
}

// Absent acts for a predecessor that has ended already.
func (t *Takeover) Absent(lane store.Lane) {
	t.join()
	t.leave(lane, writer.End{})
}

// join says that a predecessor remembers its frames from now on. The last one
// to join opens the gates of the new devices.
func (t *Takeover) join() {
	if !t.remembered() {
		return
	}
	for _, d := range t.devices {
		// Of several lanes all begin anew: one that admits nothing would lose its
		// share of the frames.
		if t.refused = d.Admit(); t.refused != nil {
			break
		}
	}
	t.overlap = time.Now().Add(overlap)
	close(t.admitted)
}

// remembered counts a predecessor that remembers its frames, and reports
// whether it is the last one.
func (t *Takeover) remembered() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.frames.since.IsZero() {
		t.frames.since = t.seen.Since(time.Now().Add(-late))
	}
	t.absent--
	return t.absent == 0
}

// admits reports whether the new devices have admitted frames for long enough.
func (t *Takeover) admits() bool {
	select {
	case <-t.admitted:
		return !time.Now().Before(t.overlap)
	default:
		return false
	}
}

// leave says that a predecessor has read all its frames, and where its files
// ended.
func (t *Takeover) leave(lane store.Lane, end writer.End) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.renamed {
		end.Sequence = 0 // another name has its own sequence numbers
	}
	t.ends[lane.Number] = end
	if t.here--; t.here == 0 {
		close(t.done)
	}
}

// errNotAdmitted means that the device, which was to take over from another one,
// lets no frame in.
var errNotAdmitted = errors.New("the new device of the interface admits no frame")

// wait waits until the predecessors have read all their frames, and returns where
// the files of the lane ended. The error says why a new device admits no frame.
func (t *Takeover) wait(lane store.Lane) (end writer.End, err error) {
	<-t.done
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.refused != nil {
		err = fmt.Errorf("%w: %w", errNotAdmitted, t.refused)
	}
	if end, ok := t.ends[lane.Number]; ok {
		return end, err
	}
	var first writer.End // there are more lanes now: the new one covers what came after any of the old ones ended
	for _, end := range t.ends {
		if first.Time.IsZero() || end.Time.Before(first.Time) {
			first.Time = end.Time
		}
	}
	return first, err
}

// remember remembers frames that a predecessor has read.
func (t *Takeover) remember(pkts []pcap.Packet) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.frames.add(pkts, t.seen)
}

// fresh moves the frames that no predecessor has read to the front and returns
// them. It also reports whether later frames may still have been read by one.
func (t *Takeover) fresh(pkts []pcap.Packet) (own []pcap.Packet, more bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.frames.fresh(pkts)
}

// frames are those that the predecessors have read and that the successors have
// not read yet.
type frames struct {
	snaplen int           // bytes of a frame that both sides capture
	skew    time.Duration // longest time between the timestamps of one frame; see capture.Device.Skew
	since   time.Time     // earlier frames can't be in a new ring
	seen    map[restart.FrameID]int
	times   map[restart.FrameID][]int64 // used instead of seen if skew > 0: times at which frames of equal contents were read, in order
	last    time.Time                   // the newest time of a remembered frame
}

func newFrames(snaplen int) frames {
	return frames{snaplen: snaplen, seen: make(map[restart.FrameID]int), times: make(map[restart.FrameID][]int64)}
}

// castagnoli is the polynomial that processors have an instruction for.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// id identifies a frame. If there is a skew, it has no time.
func (f *frames) id(p *pcap.Packet) restart.FrameID {
	id := restart.FrameID{Length: p.Length, Sum: uint64(crc32.Checksum(p.Data[:min(len(p.Data), f.snaplen)], castagnoli))}
	if f.skew == 0 {
		id.Sec, id.Nsec = p.Sec, p.Nsec
	}
	return id
}

// recall remembers a frame that an earlier process has read.
func (f *frames) recall(id restart.FrameID) {
	f.seen[id]++
	if t := time.Unix(int64(id.Sec), int64(id.Nsec)); t.After(f.last) {
		f.last = t
	}
}

// add remembers frames of an old device.
func (f *frames) add(pkts []pcap.Packet, log *restart.Seen) {
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
			log.Add(id)
		}
		if t.After(f.last) {
			f.last = t
		}
	}
}

// fresh moves the frames of a new device that are not remembered to the front
// and returns them. It also reports whether later frames may be remembered.
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

// remove reports whether a frame of a new device is remembered, and forgets it.
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

// removeNear is remove for frames whose times differ by up to skew. Times in a
// new device only grow, so earlier times in the list match no later frame.
func (f *frames) removeNear(id restart.FrameID, t int64) bool {
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

// An exit is the shared part of a recorder's handover to successors.
type exit struct {
	mu       sync.Mutex // guards what follows; held for assignments only
	takeover *Takeover  // nil if Leave was not called
	over     bool       // the recorder has ended and joins no takeover any more
	end      writer.End // where its files ended; valid if over
}

// begin makes the recorder take part in the takeover. If the recorder has
// ended, begin acts for it.
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

// get returns the takeover that the recorder takes part in; nil if there is
// none.
func (x *exit) get() *Takeover {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.takeover
}

// conclude marks the recorder as ended and returns its takeover; nil if there
// is none. A takeover that begins later is completed by begin.
func (x *exit) conclude(end writer.End) *Takeover {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.over, x.end = true, end
	return x.takeover
}

// A handoff is the part of a handover that the recorder's goroutine does.
type handoff struct {
	exit   *exit
	joined *Takeover // the takeover that remembers the frames read; nil before join
}

// ready joins the takeover, if there is one, and reports whether the device may
// be stopped: with successors, only once their devices admit frames.
func (h *handoff) ready() bool {
	t := h.exit.get()
	if t == nil {
		return true
	}
	h.join(t)
	return t.admits()
}

// join makes the takeover remember every frame that is read from now on.
func (h *handoff) join(t *Takeover) {
	if h.joined == nil {
		h.joined = t
		t.join()
	}
}

// remember remembers frames if the recorder has joined a takeover.
func (h *handoff) remember(pkts []pcap.Packet) {
	if h.joined != nil {
		h.joined.remember(pkts)
	}
}

// end completes the recorder's part, so that successors may begin.
func (h *handoff) end(lane store.Lane, end writer.End) {
	if t := h.exit.conclude(end); t != nil {
		h.join(t)
		t.leave(lane, end)
	}
}
