package index

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"capd/filter"
	"capd/flow"
	"capd/pcap"
	"capd/store"
)

// A Search is what the tables of a directory are asked for.
type Search struct {
	Condition    *filter.Condition        // that packets pass; nil: any
	Since, Until time.Time                // [Since, Until); zero: no bound
	Flow         func(*flow.Row) bool     // whether packets of a row may be asked for, in a tunnel or not; nil: any
	Flows        []FlowKey                // any of which each row has that Flow takes, unless it does not tell; nil: not known
	Always       func(pcap.LinkType) bool // link types of which all packets are asked for; nil: none
}

// A FlowKey is what rows of a flow have: a Community ID, or else two addresses.
type FlowKey struct {
	CommunityID string
	A, B        netip.Addr
}

// A Narrowed says which part of a capture file may have packets that are searched for.
type Narrowed struct {
	Source  flow.Source
	Regions []flow.Region // of the file; nil if the catalogue says that it has no such packet
	Wanted  []uint32      // numbers of those that may have such packets, in order; none: the file has no such packet
	Last    int64         // no such packet is later, in nanoseconds since 1970; 0: not known
	Read    int64         // bytes that were read to know this
}

// A Narrower looks into the tables of a directory. It may be used by several goroutines, as far as the functions of the Search may.
type Narrower struct {
	search    Search
	catalogue catalogue
	filters   *os.File // nil: there are none
}

// NewNarrower returns the Narrower of a directory.
func NewNarrower(dir string, s Search) *Narrower {
	n := &Narrower{search: s, catalogue: readCatalogue(dir)}
	n.filters, _ = store.OpenRegular(filepath.Join(dir, filtersName), os.O_RDONLY)
	return n
}

// Close closes the Narrower.
func (n *Narrower) Close() error {
	if n.filters == nil {
		return nil
	}
	return n.filters.Close()
}

// ErrCut is returned by Narrow for the table of a capture file that could not be read to its end.
var ErrCut = errors.New("the file could not be read to its end")

// Narrow says what is to be read of a capture file. An error says why that is all of it.
func (n *Narrower) Narrow(path string) (*Narrowed, error) {
	read := int64(0)
	if e, ok := n.catalogue.find(path); ok {
		if e.Source.Error != "" {
			return nil, fmt.Errorf("%w: %s", ErrCut, e.Source.Error)
		}
		var may bool
		if may, read = n.mayHave(&e); !may {
			return &Narrowed{Source: e.Source, Read: read}, nil
		}
	}
	t, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	if t.Error != "" {
		return nil, fmt.Errorf("%w: %s", ErrCut, t.Error)
	}
	out := &Narrowed{Source: t.Source, Regions: slices.Clone(t.Regions), Read: read + t.size}
	if err := n.regions(t, out); err != nil {
		return nil, err
	}
	return out, nil
}

// mayHave asks the catalogue whether a file may have packets that are searched for, and says how many bytes it has read.
func (n *Narrower) mayHave(e *entry) (may bool, read int64) {
	f := &e.Source.Totals
	if !f.Timeless && !n.search.during(f.First, f.Last) {
		return false, 0
	}
	return n.mayPass(e)
}

// mayPass is mayHave for packets of any time.
func (n *Narrower) mayPass(e *entry) (may bool, read int64) {
	s := &n.search
	if e.Filter == nil || n.filters == nil {
		return true, 0
	}
	k := &keyReader{keyFilter: e.Filter, file: n.filters, checksum: e.Checksum}
	may = s.Condition == nil || s.Always != nil && slices.ContainsFunc(e.Filter.Links, s.Always) || s.Condition.MayIn(k.has)
	may = may && (s.Flows == nil || k.hasFlow(s.Flows))
	return may, k.read
}

// regions sets the regions of a table that may have packets that are searched for.
func (n *Narrower) regions(t *Table, out *Narrowed) error {
	s := &n.search
	may := make([][2]bool, len(t.Regions)) // by the expression, by the flow
	var last [2]int64                      // of what they take
	var facts filter.Flow
	err := t.Each(func(r *flow.Row, _ string) error {
		takes := [2]bool{!r.Inner() && s.may(r, &facts), s.Flow == nil || s.Flow(r)}
		for i, ok := range takes {
			if !ok {
				continue
			}
			last[i] = max(last[i], r.Last)
			for _, region := range r.Regions {
				if int(region) >= len(may) {
					return errors.New("its flow table names a region that the file does not have")
				}
				may[region][i] = true
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if !t.Totals.Timeless {
		out.Last = min(last[0], last[1])
	}
	for i := range may {
		if r := &t.Regions[i]; may[i] == [2]bool{true, true} && (r.Timeless || s.during(r.First, r.Last)) {
			out.Wanted = append(out.Wanted, uint32(i))
		}
	}
	return nil
}

// may reports whether packets of a row may pass the condition. facts is overwritten.
func (s *Search) may(r *flow.Row, facts *filter.Flow) bool {
	if s.Condition == nil || s.Always != nil && (r.Has&flow.HasInterface == 0 || s.Always(r.Link)) {
		return true
	}
	r.Facts(facts)
	return s.Condition.May(facts)
}

// during reports whether packets from a first to a last time may be of the time that is searched.
func (s *Search) during(first, last int64) bool {
	return (s.Since.IsZero() || last >= nanoseconds(s.Since)) && (s.Until.IsZero() || first < nanoseconds(s.Until))
}
