package index

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"capd/crypt"
	"capd/flow"
	"capd/internal/text"
	"capd/store"
)

// A Measure is what flows are ordered by.
type Measure string

// Measures.
const (
	ByBytes   Measure = "bytes"
	ByPackets Measure = "packets"
	ByFlows   Measure = "flows" // of two addresses
)

// Measures are all of them.
func Measures() []Measure { return []Measure{ByBytes, ByPackets, ByFlows} }

// A Query is a question about the flows of a directory.
type Query struct {
	Expression   string    // that packets pass; empty: all do
	Interfaces   []string  // any of these; none: all
	Since, Until time.Time // zero: no bound
	By           Measure
	Identities   crypt.Identities // that decrypt encrypted files
	Top          int              // 0: all
	// Only says by its path whether a file may have packets of the time; nil: any may.
	Only func(path string) bool
	// Begin is told how many bytes of capture files are read, because they have no table that counts, and Read how many of them
	// were.
	Begin func(int64)
	Read  func(int)
}

// A Flow is a line of an answer: all parts of a flow in all files. With ByFlows it is all flows of two addresses, without
// ports.
type Flow struct {
	Interface string     `json:"interface,omitempty"`
	VLANs     []uint16   `json:"vlans,omitempty"`
	EtherType uint16     `json:"ethertype,omitempty"`
	Proto     *uint8     `json:"proto,omitempty"` // of IP
	A         string     `json:"a,omitempty"`     // sender of the first frame; a MAC address if there is none of IP
	APort     *uint16    `json:"a_port,omitempty"`
	B         string     `json:"b,omitempty"`
	BPort     *uint16    `json:"b_port,omitempty"`
	ICMPType  *uint8     `json:"icmp_type,omitempty"`
	ICMPCode  *uint8     `json:"icmp_code,omitempty"`
	Unlisted  bool       `json:"unlisted,omitempty"` // flows that are not listed one by one
	First     *time.Time `json:"first,omitempty"`
	Last      *time.Time `json:"last,omitempty"`
	Counts
	CommunityID string `json:"community_id,omitempty"`
}

// Counts are the sums of a line.
type Counts struct {
	Flows    uint64 `json:"flows"`
	APackets uint64 `json:"a_packets"` // from a to b
	BPackets uint64 `json:"b_packets"`
	ABytes   uint64 `json:"a_bytes"`
	BBytes   uint64 `json:"b_bytes"`
}

// An Answer is the flows that were asked for, and what they were found in.
type Answer struct {
	Flows   []Flow `json:"flows"`
	Total   Counts `json:"total"`   // of all flows that were asked for
	Tables  int    `json:"tables"`  // files that were answered for by their tables
	Scanned int    `json:"scanned"` // files that were read, because they have no table that counts
	Skipped int    `json:"skipped"` // files with no packet that was asked for, by their tables
	// Undecided are files that were read, because their tables do not tell which packets pass the expression.
	Undecided int      `json:"undecided"`
	Trouble   []string `json:"trouble,omitempty"`
	// Inexact says that there were too many flows to count each: those with fewer bytes or packets than the ones shown may have
	// more than they are shown with.
	Inexact bool `json:"inexact,omitempty"`
}

// maxGroups is how many flows are counted at a time.
const maxGroups = 1 << 20

// A group is what makes two rows one line.
type group struct {
	iface    string
	unlisted bool
	key      flow.Key
}

// An amount is a line while it is summed up.
type amount struct {
	first, last int64
	counts      Counts
}

type summer struct {
	groups map[group]*amount
	answer *Answer
	*chooser
}

// Flows answers a question from the tables of a directory, and from the capture files that have none.
func Flows(ctx context.Context, dir string, q Query) (*Answer, error) {
	choose, err := newChooser(&q)
	if err != nil {
		return nil, err
	}
	s := &summer{groups: make(map[group]*amount), answer: new(Answer), chooser: choose}
	paths, err := files(dir, append(store.WithData(), store.Recording))
	if err != nil {
		return nil, err
	}
	known := NewNarrower(dir, Search{Condition: s.condition, Since: q.Since, Until: q.Until, Always: s.refuses})
	defer known.Close()
	var without, undecided []string // by their tables
	for _, path := range paths {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if q.Only != nil && !q.Only(path) {
			s.answer.Skipped++
			continue
		}
		if e, ok := known.catalogue.find(path); ok && !s.mayPass(known, &e) {
			s.skip(&e.Source)
			continue
		}
		t, err := Open(path)
		if err != nil {
			without = append(without, path)
			continue
		}
		decided, err := s.table(t)
		if err != nil {
			return nil, fmt.Errorf("flow table of %s: %w", text.Name(path), err)
		}
		if !decided {
			undecided = append(undecided, path)
		}
	}
	s.expect(append(without, undecided...))
	if s.answer.Scanned, err = s.scan(ctx, without); err != nil {
		return nil, err
	}
	if s.answer.Undecided, err = s.scan(ctx, undecided); err != nil {
		return nil, err
	}
	s.finish()
	return s.answer, nil
}

// mayPass asks the catalogue whether a file may have packets that were asked for.
func (s *summer) mayPass(known *Narrower, e *entry) bool {
	if !s.mayHave(&e.Source) {
		return false
	}
	may, _ := known.mayPass(e)
	return may
}

// skip counts a file that has no packet that was asked for.
func (s *summer) skip(f *flow.Source) {
	s.trouble(f, f.File)
	s.answer.Skipped++
}

// table adds the rows of a table, unless it does not tell which packets pass the expression.
func (s *summer) table(t *Table) (decided bool, err error) {
	defer t.Close()
	if !s.mayHave(&t.Source) {
		s.skip(&t.Source)
		return true, nil
	}
	if s.chooses() {
		any := false
		decided, any, err = s.decide(t)
		switch {
		case err != nil || !decided:
			return false, err
		case !any:
			s.skip(&t.Source)
			return true, nil
		}
	}
	s.trouble(&t.Source, t.File)
	s.answer.Tables++
	return true, t.Each(func(r *flow.Row, iface string) error {
		if may, _ := s.takes(r); may {
			return s.add(r, iface)
		}
		return nil
	})
}

// decide reports whether a table tells of each packet whether it is asked for, and whether any is.
func (s *summer) decide(t *Table) (decided, any bool, err error) {
	decided = true
	err = t.Each(func(r *flow.Row, iface string) error {
		if s.wants(r, iface) {
			may, must := s.takes(r)
			decided, any = decided && may == must, any || may
		}
		return nil
	})
	return decided, any, err
}

func (s *summer) trouble(f *flow.Source, name string) {
	if f.Error != "" {
		s.answer.Trouble = append(s.answer.Trouble, fmt.Sprintf("%s: %s", text.Name(name), f.Error))
	}
}

// expect says which files will be read.
func (s *summer) expect(paths []string) {
	if s.q.Begin != nil {
		for _, path := range paths {
			s.q.Begin(sizeOf(path))
		}
	}
}

// scan adds the flows of files by reading them, and returns of how many it could.
func (s *summer) scan(ctx context.Context, paths []string) (read int, err error) {
	for _, path := range paths {
		path = present(path)
		f, _, err := scan(ctx, path, s.q.Identities, s.q.Read, s.keep(s.saying(path)), s.add)
		_, state := store.Cut(path)
		growing := state == store.Recording && (err == nil || errors.Is(err, io.ErrUnexpectedEOF))
		switch {
		case ctx.Err() != nil:
			return read, ctx.Err()
		case err != nil && !growing:
			s.answer.Trouble = append(s.answer.Trouble, err.Error())
			continue
		case !growing:
			s.trouble(&f, filepath.Base(path))
		}
		read++
	}
	return read, nil
}

// saying returns a function that says once what is wrong with packets of a file.
func (s *summer) saying(path string) func(error) {
	said := make(map[string]bool)
	return func(err error) {
		if !said[err.Error()] {
			said[err.Error()] = true
			s.answer.Trouble = append(s.answer.Trouble, fmt.Sprintf("%s: %v", text.Name(filepath.Base(path)), err))
		}
	}
}

// present returns the path that a capture file has now: capd may have finished or compressed it since the directory was read.
func present(path string) string {
	finished, _ := store.Cut(path)
	for _, p := range []string{path, finished, finished + store.Zstd.Ext(), finished + store.Gzip.Ext()} {
		if _, err := os.Stat(p); err == nil {
			return p
		}
	}
	return path
}

// add adds a row, if it is asked for.
func (s *summer) add(r *flow.Row, iface string) error {
	if !s.wants(r, iface) {
		return nil
	}
	g := group{iface: iface, unlisted: r.Unlisted, key: r.Key}
	g.key.Interface = 0
	if r.Src.IsValid() {
		g.key.SrcMAC, g.key.DstMAC, g.key.Has = flow.MAC{}, flow.MAC{}, g.key.Has&^(flow.HasSrcMAC|flow.HasDstMAC)
	}
	if s.q.By == ByFlows {
		g.key = flow.Key{Src: r.Src, Dst: r.Dst, SrcMAC: g.key.SrcMAC, DstMAC: g.key.DstMAC, Has: g.key.Has & (flow.HasSrcMAC | flow.HasDstMAC)}
		g.iface = ""
	}
	c := Counts{Flows: 1, APackets: r.Sent.Packets, BPackets: r.Received.Packets, ABytes: r.Sent.Bytes, BBytes: r.Received.Bytes}
	s.answer.Total.add(&c)
	if _, ok := s.groups[g]; !ok { // the other direction may have been first in another file
		back := g.reverse()
		if _, ok := s.groups[back]; ok {
			g = back
			c.APackets, c.BPackets, c.ABytes, c.BBytes = c.BPackets, c.APackets, c.BBytes, c.ABytes
		}
	}
	a := s.groups[g]
	if a == nil {
		if len(s.groups) >= maxGroups {
			s.forget()
		}
		a = new(amount)
		s.groups[g] = a
	}
	a.counts.add(&c)
	if r.First != 0 && (a.first == 0 || r.First < a.first) {
		a.first = r.First
	}
	a.last = max(a.last, r.Last)
	return nil
}

// reverse is the group with both ends exchanged.
func (g group) reverse() group {
	k := &g.key
	k.Src, k.Dst, k.SrcPort, k.DstPort, k.SrcMAC, k.DstMAC = k.Dst, k.Src, k.DstPort, k.SrcPort, k.DstMAC, k.SrcMAC
	if k.Has&flow.HasICMP != 0 {
		other, ok := flow.Counterpart(k.Proto, k.ICMPType)
		if !ok {
			return group{} // one way
		}
		k.ICMPType = other
	}
	return g
}

func (c *Counts) add(o *Counts) {
	c.Flows += o.Flows
	c.APackets += o.APackets
	c.BPackets += o.BPackets
	c.ABytes += o.ABytes
	c.BBytes += o.BBytes
}

func (c *Counts) by(m Measure) uint64 {
	switch m {
	case ByPackets:
		return c.APackets + c.BPackets
	case ByFlows:
		return c.Flows
	}
	return c.ABytes + c.BBytes
}

// ordered returns the groups, those with the most first.
func (s *summer) ordered() []group {
	all := make([]group, 0, len(s.groups))
	for g := range s.groups {
		all = append(all, g)
	}
	slices.SortFunc(all, func(x, y group) int {
		a, b := s.groups[x], s.groups[y]
		return cmp.Or(
			cmp.Compare(b.counts.by(s.q.By), a.counts.by(s.q.By)), cmp.Compare(a.first, b.first), x.key.Src.Compare(y.key.Src),
			cmp.Compare(x.key.SrcPort, y.key.SrcPort), x.key.Dst.Compare(y.key.Dst), cmp.Compare(x.key.DstPort, y.key.DstPort),
			cmp.Compare(x.iface, y.iface), slices.Compare(x.key.IDs(), y.key.IDs()), cmp.Compare(x.key.EtherType, y.key.EtherType),
			cmp.Compare(x.key.Proto, y.key.Proto), cmp.Compare(x.key.ICMPType, y.key.ICMPType), cmp.Compare(x.key.ICMPCode, y.key.ICMPCode),
			cmp.Compare(x.key.Has, y.key.Has), bytes.Compare(x.key.SrcMAC[:], y.key.SrcMAC[:]), bytes.Compare(x.key.DstMAC[:], y.key.DstMAC[:]),
		)
	})
	return all
}

// forget forgets the half of the flows that has the least.
func (s *summer) forget() {
	all := s.ordered()
	for _, g := range all[len(all)/2:] {
		delete(s.groups, g)
	}
	s.answer.Inexact = true
}

func (s *summer) finish() {
	all := s.ordered()
	if s.q.Top > 0 && len(all) > s.q.Top {
		all = all[:s.q.Top]
	}
	s.answer.Flows = make([]Flow, 0, len(all))
	for i := range all {
		s.answer.Flows = append(s.answer.Flows, s.line(&all[i]))
	}
}

func (s *summer) line(g *group) Flow {
	a, k := s.groups[*g], &g.key
	f := Flow{
		Interface: g.iface, VLANs: k.IDs(), EtherType: k.EtherType, Unlisted: g.unlisted, Counts: a.counts,
		A: endOf(k.Src, k.SrcMAC, k.Has&flow.HasSrcMAC != 0), B: endOf(k.Dst, k.DstMAC, k.Has&flow.HasDstMAC != 0),
		CommunityID: flow.CommunityID(k, 0),
	}
	if k.Has&flow.HasProto != 0 {
		f.Proto = &k.Proto
	}
	if k.Has&flow.HasPorts != 0 {
		f.BPort = &k.DstPort
		if !g.unlisted {
			f.APort = &k.SrcPort
		}
	}
	if k.Has&flow.HasICMP != 0 {
		f.ICMPType, f.ICMPCode = &k.ICMPType, &k.ICMPCode
	}
	if a.first != 0 {
		first, last := time.Unix(0, a.first).UTC(), time.Unix(0, a.last).UTC()
		f.First, f.Last = &first, &last
	}
	return f
}

func endOf(a netip.Addr, m flow.MAC, known bool) string {
	switch {
	case a.IsValid():
		return a.String()
	case known:
		return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
	}
	return ""
}
