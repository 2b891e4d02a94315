package extract

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"capd/filter"
	"capd/flow"
	"capd/internal/index"
	"capd/internal/inventory"
	"capd/internal/read"
	"capd/internal/text"
	"capd/pcap"
)

// A Reading is how much of a file is read.
type Reading struct {
	Bytes   int64  `json:"bytes"`             // of the file
	Table   int64  `json:"table,omitempty"`   // of its flow table, which were read
	Regions int    `json:"regions,omitempty"` // that are read; 0: none, or all of the file if Of is 0 too
	Of      int    `json:"of,omitempty"`      // regions that the file has
	Index   string `json:"index"`             // what its flow table says, or why it was not asked or is not believed

	none  bool // the file is not opened
	route *route
	parts []read.Part
	from  flow.Source // of the table

	untabled bool       // it has no flow table
	seen     *read.File // that a Memory has read, whose route and parts these are; nil: they are a flow table's
}

// A region is a part of a file by its flow table.
type region struct {
	flow.Region
	end  int64 // of its last record
	read bool
}

// A route is the regions of a file, some of which are read. It makes up for the others: what a reader of the whole file would
// know of their packets.
type route struct {
	regions []region
	last    int64  // no packet that is asked for is later, in nanoseconds since 1970; 0: not known
	at      int    // the one that is read
	seen    uint32 // packets of it
	skipped uint64 // packets of regions that were not read
}

// errTable says that a flow table is of another file, whatever it says of itself.
var errTable = errors.New("its flow table is of another file")

// pass goes on to where the next record begins. newest is the latest time in what is skipped on the way.
func (r *route) pass(offset int64) (newest int64, err error) {
	for r.at < len(r.regions) && r.regions[r.at].end <= offset {
		g := &r.regions[r.at]
		switch {
		case !g.read:
			newest = max(newest, g.Last)
			r.skipped += uint64(g.Packets)
		case r.seen != g.Packets:
			return 0, errTable
		}
		r.at, r.seen = r.at+1, 0
	}
	return newest, nil
}

// done returns the parts that were read up to where the next record would have begun.
func (r *route) done(offset int64) (parts []read.Part) {
	for i := range r.regions[:min(r.at+1, len(r.regions))] {
		if g := &r.regions[i]; g.read && g.Offset < offset {
			parts = append(parts, read.Part{Begin: g.Offset, End: min(g.end, offset)})
		}
	}
	return parts
}

// condition returns what the expression asks of flows; nil: nothing.
func (q *Question) condition() *filter.Condition {
	c, err := filter.Conditions(q.Expression)
	if err != nil || c.String() == "any packet" {
		return nil
	}
	return c
}

// Condition spells what flow tables are asked for; empty: nothing.
func (p *Plan) Condition() string {
	var all []string
	if p.condition != nil {
		all = append(all, p.condition.String())
	}
	if fs := p.Question.Flows; len(fs) > 0 {
		var names []string
		for i := range fs {
			names = append(names, "flow "+fs[i].String())
		}
		all = append(all, strings.Join(names, " or "))
	}
	if len(all) == 2 {
		return "(" + all[0] + ") and (" + all[1] + ")"
	}
	return strings.Join(all, "")
}

// Bytes returns how many bytes of the files are to be read.
func (p *Plan) Bytes() (n int64) {
	for _, s := range p.Sources {
		n += s.Reading.Bytes
	}
	return n
}

// openTables opens the flow tables of a directory. What it returns waits for that.
func (p *Plan) openTables(dir string) (opened func() *index.Narrower) {
	q := &p.Question
	search := index.Search{Condition: p.condition, Since: q.Since, Until: q.Until}
	if len(q.Flows) > 0 {
		search.Flow, search.Flows = q.Flows.Set().mayTake, q.Flows.keys()
	}
	if p.condition != nil {
		var mutex sync.Mutex
		refused := make(map[pcap.LinkType]bool)
		search.Always = func(l pcap.LinkType) bool { // the answer says that the expression does not fit them
			mutex.Lock()
			defer mutex.Unlock()
			bad, known := refused[l]
			if !known {
				_, err := filter.Compile(q.Expression, filter.Target{LinkType: filter.LinkType(l)})
				bad = err != nil
				refused[l] = bad
			}
			return bad
		}
	}
	opened = sync.OnceValue(func() *index.Narrower { return index.NewNarrower(dir, search) })
	go opened()
	return opened
}

// narrow asks the flow tables of a directory which parts of its files are to be read. The tables change nothing about the answer. What it
// returns waits for the tables.
func (p *Plan) narrow(ctx context.Context, dir string, tables func() *index.Narrower) (wait func()) {
	q := &p.Question
	var asked []*Source
	for _, s := range p.Sources {
		if s.Directory != dir || s.Reading.Index != "" {
			continue
		}
		s.Reading.Bytes = s.Size
		switch {
		case ctx.Err() != nil:
			s.Reading.Index = "the question was interrupted"
		case s.Encrypted:
			s.Reading.Index = "an encrypted file has no flow table"
		case !s.Whole():
			s.Reading.Index = "a file that is not finished has no flow table"
		case p.condition == nil && len(q.Flows) == 0 && !q.parts(s):
			s.Reading.Index = "all of it is asked for"
		default:
			asked = append(asked, s)
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		askAll(tables(), asked)
	}()
	return func() {
		<-done
		for _, s := range asked {
			p.Answer.Tables += s.Reading.Table
		}
		q.Memory.narrow(p, dir)
	}
}

// mostAsked is how many tables are asked at a time: a disk that is asked for one block after the other takes some ten times as long.
const mostAsked = 16

func askAll(tables *index.Narrower, all []*Source) {
	var next atomic.Int64
	var wait sync.WaitGroup
	for range min(mostAsked, len(all)) {
		wait.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(all)); i = next.Add(1) - 1 {
				all[i].Reading.ask(tables, all[i])
			}
		})
	}
	wait.Wait()
}

// parts reports whether the bounds of time may leave out some of a file.
func (q *Question) parts(s *Source) bool {
	return !q.Since.IsZero() && q.Since.After(s.Earliest) || !q.Until.IsZero() && (s.Latest.IsZero() || !q.Until.After(s.Latest))
}

// ask sets what is to be read of a source.
func (r *Reading) ask(tables *index.Narrower, s *Source) {
	n, err := tables.Narrow(s.Path())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		r.Index, r.untabled = "it has no flow table", true
		return
	case err != nil:
		r.Index = "its flow table does not count: " + err.Error()
		return
	}
	r.Table, r.from = n.Read, n.Source
	if t := &n.Source.Totals; s.Contents != nil && (t.Packets != s.Packets || s.Contents.Bytes > 0 && t.Bytes-t.Cut != s.Contents.Bytes) {
		r.Index = fmt.Sprintf("its flow table does not count: it has %s, and the ledger %s", text.Count(t.Packets, "packet"), text.Count(s.Packets, "packet"))
		return
	}
	if len(n.Wanted) == 0 {
		r.none, r.Bytes, r.Of, r.Index = true, 0, len(n.Regions), "it has no such packet by its flow table"
		return
	}
	regions := newRegions(n)
	switch r.Of = len(regions); {
	case regions == nil:
		r.Index = "its flow table does not count: its regions are none"
	case (s.State == inventory.Compressed || n.Source.Length != n.Source.Size) && !read.HasParts(s.Path()):
		r.Of, r.Index = 0, "it is compressed in one piece, and has such packets by its flow table"
	default:
		r.choose(regions)
	}
	if r.route != nil && s.Ordered() {
		r.route.last = n.Last
	}
}

// newRegions returns the regions of a file, each of which ends where the next one begins; nil if they do not make up the file.
func newRegions(n *index.Narrowed) (all []region) {
	wanted, packets := n.Wanted, uint64(0)
	for i := range n.Regions {
		g := region{Region: n.Regions[i]}
		if len(wanted) > 0 && wanted[0] == uint32(i) {
			g.read, wanted = true, wanted[1:]
		}
		if g.Offset < 0 {
			continue
		}
		if last := len(all) - 1; last >= 0 {
			all[last].end = g.Offset
		}
		g.read = g.read || g.Describes
		packets += uint64(g.Packets)
		all = append(all, g)
	}
	if len(all) == 0 || all[0].Offset != 0 || all[len(all)-1].Offset >= n.Source.Length || packets != n.Source.Totals.Packets {
		return nil
	}
	all[len(all)-1].end = n.Source.Length
	return all
}

// choose sets the parts of the file that are read.
func (r *Reading) choose(regions []region) {
	bytes := int64(0)
	for i := range regions {
		g := &regions[i]
		if !g.read {
			continue
		}
		r.Regions++
		bytes += g.end - g.Offset
		if last := len(r.parts) - 1; last >= 0 && r.parts[last].End == g.Offset {
			r.parts[last].End = g.end
		} else {
			r.parts = append(r.parts, read.Part{Begin: g.Offset, End: g.end})
		}
	}
	if r.Regions == len(regions) {
		r.parts, r.Index = nil, "all of its regions may have such packets by its flow table"
		return
	}
	r.Bytes, r.route = bytes, &route{regions: regions}
	r.Index = fmt.Sprintf("%d of its %s may have such packets by its flow table", r.Regions, text.Count(len(regions), "region"))
}

// follow takes the route that a flow table has given, if the file that was opened is the one that it is of.
func (s *stream) follow() error {
	r := &s.Reading
	if r.route == nil {
		return nil
	}
	if !s.file.Parted() {
		return nil // it was opened without parts, or has none
	}
	if !r.isOf(s.file) {
		return s.file.Whole()
	}
	read, err := s.file.Check(r.parts)
	s.x.answer.Read += read
	if err != nil {
		s.note(err)
		return s.file.Whole()
	}
	s.route = &route{regions: r.route.regions, last: r.route.last}
	return nil
}

// isOf reports whether the route is one of the file.
func (r *Reading) isOf(f *read.File) bool {
	if r.seen != nil {
		return r.seen.Same(f)
	}
	size, modified := f.Stat()
	return size == r.from.Size && modified == r.from.Modified
}

// skip goes on to the next part of the file that is read. It returns false if something else is to be done before its first
// record is read.
func (s *stream) skip() (on bool, err error) {
	newest, err := s.route.pass(s.file.Position())
	if err != nil {
		return false, s.doubt(err)
	}
	if newest <= s.newest {
		return true, nil
	}
	s.newest = newest // older packets need not wait longer
	until := s.x.question.Until
	s.ended = s.Ordered() && !until.IsZero() && newest >= until.UnixNano()
	return false, nil
}

// doubt reads all of the file, because its flow table is wrong. What was found stays.
func (s *stream) doubt(why error) error {
	s.note(why)
	s.done, s.route = s.route.done(s.file.Offset()), nil
	s.packets = packets{parts: make(map[int]*Part), links: s.links}
	if err := s.file.Whole(); err != nil {
		return err
	}
	if _, err := s.file.Header(); err != nil {
		return err
	}
	return s.describe(nil)
}

// was reports whether the record at an offset was read before the flow table was doubted.
func (s *progress) was(offset int64) bool {
	return slices.ContainsFunc(s.done, func(p read.Part) bool { return p.Begin <= offset && offset < p.End })
}

func (s *stream) note(why error) {
	s.x.answer.Notes = append(s.x.answer.Notes, fmt.Sprintf("all of %s is read, because its flow table is of another file: %v", text.Name(s.Name), why))
}

// mayPass reports whether a packet, of which bytes were not captured, may pass the expression if it were whole.
func (x *extraction) mayPass(link pcap.LinkType, p *pcap.Packet) bool {
	if x.sure == nil {
		return true
	}
	x.chooser.frame.Parse(link, p.Data)
	l := &x.chooser.frame.Layers[0]
	row := flow.Row{Key: l.Key, Link: link, Sent: flow.Count{Packets: 1, Bytes: uint64(p.Length), Flags: l.Flags}, Cut: 1, Marks: l.Marks}
	row.Has |= flow.HasInterface
	var f filter.Flow
	row.Facts(&f)
	return x.sure.May(&f)
}
