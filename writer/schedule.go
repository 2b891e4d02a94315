package writer

import (
	"time"

	"capd/pcap"
)

// agreement is how far a packet's time and the clock may differ for the packet's time to steer
// rotation. It is larger than the time that any ring delays frames, and smaller than the error of a
// NIC clock or system clock that was set wrong.
const agreement = time.Minute

// A schedule decides when a file's interval ends. Boundaries are UTC multiples of the interval. It
// uses three clocks, so that no step of one of them rotates in a loop or stops rotation: the
// packets' time while it agrees with the wall clock, the wall clock itself, and the monotonic
// clock, which limits the age of every file to the interval.
type schedule struct {
	interval time.Duration // whole seconds; 0: never
	grace    time.Duration // how long after its time a frame may come out of the ring

	wall   time.Time     // now, as of the last advance
	mono   time.Duration // the same moment on the monotonic clock
	end    int64         // end of the current interval, in seconds since 1970
	opened time.Duration // when the current interval was begun, on the monotonic clock

	lag   time.Duration // how far the packets that are read now lie behind the clock: they wait in the ring
	read  time.Duration // when packets were last read, on the monotonic clock
	fresh bool          // packets were read since the last advance
}

// advance sets the current time.
func (s *schedule) advance(wall time.Time, mono time.Duration) {
	s.wall, s.mono = wall, mono
	if s.fresh {
		s.fresh, s.read = false, mono
	} else if mono-s.read >= s.grace {
		s.lag = 0 // no packet waits any more
	}
}

// follow notes that the packet was read.
func (s *schedule) follow(p *pcap.Packet) {
	s.fresh, s.lag = true, 0
	if s.agrees(p) {
		s.lag = max(0, s.wall.Sub(p.Time()))
	}
}

// await says that packets of any time may wait in the ring.
func (s *schedule) await() { s.fresh, s.lag = true, agreement }

// floor returns the start of the interval that contains t.
func (s *schedule) floor(t time.Time) time.Time {
	step := int64(s.interval / time.Second)
	sec := t.Unix()
	return time.Unix(sec-((sec%step)+step)%step, 0)
}

// begin starts the interval that contains t.
func (s *schedule) begin(t time.Time) {
	s.opened = s.mono
	if s.interval > 0 {
		s.end = s.floor(t).Unix() + int64(s.interval/time.Second)
	}
}

// agrees reports whether a packet's time may steer rotation.
func (s *schedule) agrees(p *pcap.Packet) bool {
	d := s.wall.Sub(p.Time())
	return -agreement < d && d < agreement
}

// trusted returns the packet's time if it agrees with the clock, else the clock's.
func (s *schedule) trusted(p *pcap.Packet) time.Time {
	if s.agrees(p) {
		return p.Time()
	}
	return s.wall
}

// limit returns the first second after the current interval, for packets that agree with the clock
// as p does.
func (s *schedule) limit(p *pcap.Packet) uint64 {
	if s.interval == 0 || !s.agrees(p) {
		return everything
	}
	return uint64(max(s.end, 0))
}

// boundary returns the end of the current interval.
func (s *schedule) boundary() time.Time { return time.Unix(s.end, 0) }

// over reports whether the interval is over by the clocks alone. The grace lets frames that arrived
// before its end come out of the ring first, and so does the lag where more of them wait: the clock
// would end a file at each look until all of them are read.
func (s *schedule) over() bool {
	if s.interval == 0 {
		return false
	}
	return !s.wall.Before(s.boundary().Add(s.grace+s.lag)) || s.mono-s.opened >= s.interval+s.grace
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
