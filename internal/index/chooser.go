package index

import (
	"slices"
	"time"

	"capd/filter"
	"capd/flow"
	"capd/internal/read"
	"capd/pcap"
)

// A chooser says which packets a query asks for, and which rows have such packets.
type chooser struct {
	q         *Query
	from, to  int64
	condition *filter.Condition // nil: there is no expression
	filter    *read.Filter
	refused   map[pcap.LinkType]bool
	facts     filter.Flow
}

func newChooser(q *Query) (*chooser, error) {
	c := &chooser{q: q, from: nanoseconds(q.Since), to: nanoseconds(q.Until)}
	if q.Expression == "" {
		return c, nil
	}
	var err error
	c.condition, err = filter.Conditions(q.Expression)
	c.filter, c.refused = read.NewFilter(q.Expression), make(map[pcap.LinkType]bool)
	return c, err
}

// chooses reports whether packets may be left out that are of the time.
func (c *chooser) chooses() bool { return c.condition != nil || len(c.q.Interfaces) > 0 }

// refuses reports whether the expression does not fit a link type, which is said when packets of it are read.
func (c *chooser) refuses(l pcap.LinkType) bool {
	bad, known := c.refused[l]
	if !known {
		_, err := filter.Compile(c.q.Expression, filter.Target{LinkType: filter.LinkType(l)})
		bad = err != nil
		c.refused[l] = bad
	}
	return bad
}

// row reports whether some packets of a row may pass the expression, and whether all do.
func (c *chooser) row(r *flow.Row) (may, must bool) {
	if r.Has&flow.HasInterface != 0 && c.refuses(r.Link) {
		return true, false
	}
	r.Facts(&c.facts)
	return c.condition.May(&c.facts), c.condition.Must(&c.facts)
}

func nanoseconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// mayHave reports whether a file may have packets of the time that was asked for.
func (c *chooser) mayHave(f *flow.Source) bool {
	return f.Totals.Timeless || c.within(f.Totals.First, f.Totals.Last)
}

// within reports whether there is a time from first to last that was asked for. Packets without a time are not within bounds.
func (c *chooser) within(first, last int64) bool {
	if first == 0 {
		return c.from == 0 && c.to == 0
	}
	return (c.from == 0 || last >= c.from) && (c.to == 0 || first < c.to)
}

// wants reports whether a row is asked for, whatever its packets are.
func (c *chooser) wants(r *flow.Row, iface string) bool {
	return !r.Inner() && c.within(r.First, r.Last) && (c.names(iface) || r.Has&flow.HasInterface == 0)
}

// names reports whether an interface is asked for.
func (c *chooser) names(name string) bool {
	return len(c.q.Interfaces) == 0 || slices.Contains(c.q.Interfaces, name)
}

// takes reports whether some packets of a row may be of the expression and of an interface that is asked for, and whether all are.
func (c *chooser) takes(r *flow.Row) (may, must bool) {
	known := r.Has&flow.HasInterface != 0 || len(c.q.Interfaces) == 0
	if c.condition == nil {
		return true, known
	}
	may, must = c.row(r)
	return may, must && known
}

// keep returns which packets of a file are asked for; nil: all. Errors of packets that the expression does not fit are said.
func (c *chooser) keep(say func(error)) keep {
	if !c.chooses() {
		return nil
	}
	return func(src *read.File, p *pcap.Packet, iface string) bool {
		if !c.names(iface) || c.condition == nil {
			return c.names(iface)
		}
		passes, err := c.filter.Match(src, p)
		if err != nil {
			say(err)
		}
		return passes
	}
}
