package watch

import (
	"fmt"
	"time"

	"capd/pcap"
)

// A Stamp says what a line has in place of the time: as many -t of tcpdump as it is.
type Stamp int

// Stamps.
const (
	StampClock    Stamp = iota // the time of the day
	StampNone                  // nothing
	StampUnix                  // seconds since 1970
	StampPrevious              // time since the packet before
	StampDate                  // date and time of the day
	StampFirst                 // time since the first packet

	stamps
)

// Valid reports whether there is such a stamp.
func (s Stamp) Valid() bool { return 0 <= s && s < stamps }

// A clock writes the times of packets.
type clock struct {
	style  *Style
	since  time.Time // of the packet that differences are from; zero: none was yet
	offset int       // of the zone from UTC, in seconds, that was said last
	notice func(format string, args ...any)
}

// append appends the time of a packet as lines have it, and nothing if they have none.
func (c *clock) append(dst []byte, p *pcap.Packet) []byte {
	if c.style.Stamp == StampNone {
		return dst
	}
	if !p.HasTime() {
		return append(dst, "time unknown"...)
	}
	t := p.Time().UTC()
	if zone := c.style.Zone; zone != nil {
		t = t.In(zone)
	}
	switch c.style.Stamp {
	case StampUnix:
		return fmt.Appendf(dst, "%d.%06d", p.Sec, p.Nsec/1000)
	case StampPrevious, StampFirst:
		return c.appendSince(dst, t)
	}
	if c.style.Date {
		return t.AppendFormat(dst, "2006-01-02T15:04:05.000000Z07:00")
	}
	c.sayZone(t)
	if c.style.Stamp == StampDate {
		return t.AppendFormat(dst, "2006-01-02 15:04:05.000000")
	}
	return t.AppendFormat(dst, "15:04:05.000000")
}

func (c *clock) appendSince(dst []byte, t time.Time) []byte {
	t = t.Truncate(time.Microsecond) // differences are those of the times that other forms show
	if c.since.IsZero() {
		c.since = t
	}
	d, sign := t.Sub(c.since), byte(' ')
	if d < 0 {
		d, sign = -d, '-'
	}
	if c.style.Stamp == StampPrevious {
		c.since = t
	}
	us := d.Microseconds()
	return fmt.Appendf(append(dst, sign), "%02d:%02d:%02d.%06d", us/3600e6, us/60e6%60, us/1e6%60, us%1e6)
}

// sayZone says in which zone times are from here on, unless that is UTC from the beginning.
func (c *clock) sayZone(t time.Time) {
	name, offset := t.Zone()
	if offset == c.offset {
		return
	}
	c.offset = offset
	c.notice("times are in local time, %s (UTC%s); -u shows UTC", name, t.Format("-07:00"))
}
