package extract

import (
	"fmt"
	"hash/maphash"
	"net/netip"
	"path/filepath"

	"capd/flow"
	"capd/internal/inventory"
	"capd/internal/read"
	"capd/internal/text"
	"capd/store"
)

// A Memory makes many questions for flows about files that are being recorded cheap: it knows between which addresses the packets
// of each region of such a file are, and reads of it only what was added since the last question. It changes no answer. One
// question may use it at a time.
type Memory struct {
	files map[string]*remembered // by the name of the finished file
	bytes int                    // of keys
}

// maxRemembered bounds what a Memory takes: beyond it it forgets everything.
const maxRemembered = 128 << 20

// A remembered file is one that is being recorded, or was when it was first seen.
type remembered struct {
	file    *read.File
	regions []seenRegion
	packets uint64
	end     int64 // of what was read
	last    bool  // nothing more comes
	seen    bool  // by the present question
}

// A seenRegion is a region of a file, with what is known of its packets.
type seenRegion struct {
	flow.Region
	keys   map[uint32]struct{} // hashes of pairs of addresses
	always bool                // it may have packets of any flow
}

var seed = maphash.MakeSeed()

// pairKey is the same for both directions.
func pairKey(a, b netip.Addr) uint32 {
	pair := addresses(a, b)
	var buf [32]byte
	x, y := pair[0].As16(), pair[1].As16()
	copy(buf[:], x[:])
	copy(buf[16:], y[:])
	return uint32(maphash.Bytes(seed, buf[:]))
}

// Close forgets everything.
func (m *Memory) Close() {
	for _, f := range m.files {
		_ = f.file.Close()
	}
	m.files, m.bytes = nil, 0
}

// narrow says what is to be read of the files of a directory that have no flow table. Files of other questions are forgotten.
func (m *Memory) narrow(p *Plan, dir string) {
	if m == nil || !p.Question.Flows.addressed() {
		return
	}
	wanted := make(map[uint32]struct{})
	for i := range p.Question.Flows {
		f := &p.Question.Flows[i]
		wanted[pairKey(f.ends[0].addr, f.ends[1].addr)] = struct{}{}
	}
	for _, s := range p.Sources {
		n, _, err := store.Parse(s.Name)
		if s.Directory != dir || err != nil {
			continue
		}
		key := filepath.Join(dir, n.String())
		f := m.files[key]
		growing := s.State == inventory.Recording && !s.unflushed
		if !growing && (f == nil || s.State != inventory.Finished || !s.Reading.untabled) {
			continue
		}
		if f = m.update(key, f, s); f == nil {
			continue
		}
		f.seen = true
		s.Reading.remember(f, p, wanted)
	}
	for key, f := range m.files {
		if !f.seen && filepath.Dir(key) == dir {
			m.forget(key, f)
		}
		f.seen = false
	}
	if m.bytes > maxRemembered {
		m.Close()
	}
}

func (m *Memory) forget(key string, f *remembered) {
	_ = f.file.Close()
	for i := range f.regions {
		m.bytes -= keyCost * len(f.regions[i].keys)
	}
	delete(m.files, key)
}

// keyCost is about what a key takes in memory.
const keyCost = 16

// update reads what was added to a file. It returns nil if nothing can be said about it. The key is the name that a file gets which
// ends while the question is asked.
func (m *Memory) update(key string, f *remembered, s *Source) *remembered {
	if f != nil && !f.file.Is(s.Path()) && !f.file.Is(key) {
		m.forget(key, f)
		f = nil
	}
	if f == nil {
		file, err := read.Open(s.Path(), read.Options{Growing: true})
		if err != nil {
			return nil
		}
		if m.files == nil {
			m.files = make(map[string]*remembered)
		}
		file.WholeUpTo(s.flushed)
		f = &remembered{file: file}
		m.files[key] = f
		if _, err := file.Header(); err != nil {
			m.forget(key, f)
			return nil
		}
	} else if !f.last {
		if f.last = f.file.More(); f.last { // and it was finished, as it has its other name
			f.file.WholeUpTo(f.file.Size())
		} else {
			f.file.WholeUpTo(s.flushed)
		}
	}
	if err := m.scan(f); err != nil {
		m.forget(key, f)
		return nil
	}
	return f
}

// scan reads up to the end that the file has now.
func (m *Memory) scan(f *remembered) error {
	var frame flow.Frame
	for {
		record, p, err := f.file.NextRecord()
		if err != nil {
			if f.file.AtEnd(err) {
				return nil
			}
			return err
		}
		f.end = f.file.Offset()
		offset := f.end - int64(len(record))
		r := f.region(offset)
		if p == nil {
			r.Describes = r.Describes || f.packets > 0 && f.file.Translator().Informs(record)
			continue
		}
		f.packets++
		r.Packets++
		if p.HasTime() {
			at := int64(p.Sec)*1e9 + int64(p.Nsec)
			if r.First == 0 || at < r.First {
				r.First = at
			}
			r.Last = max(r.Last, at)
		} else {
			r.Timeless = true
		}
		frame.Parse(f.file.Interface().LinkType, p.Data)
		for i := range frame.N {
			l := &frame.Layers[i]
			r.always = r.always || int(p.Length) > len(p.Data) && lacks(&l.Key, l.Marks)
			if !l.Src.IsValid() || !l.Dst.IsValid() {
				continue
			}
			k := pairKey(l.Src, l.Dst)
			if _, known := r.keys[k]; !known {
				r.keys[k] = struct{}{}
				m.bytes += keyCost
			}
		}
	}
}

// region returns the region of a record.
func (f *remembered) region(offset int64) *seenRegion {
	if n := len(f.regions); n > 0 && offset/flow.RegionSize == f.regions[n-1].Offset/flow.RegionSize {
		return &f.regions[n-1]
	}
	if len(f.regions) == 0 {
		offset = 0 // with what is before the first packet
	}
	f.regions = append(f.regions, seenRegion{Region: flow.Region{Offset: offset}, keys: make(map[uint32]struct{})})
	return &f.regions[len(f.regions)-1]
}

// remember sets what is read of a file.
func (r *Reading) remember(f *remembered, p *Plan, wanted map[uint32]struct{}) {
	q := &p.Question
	regions := make([]region, 0, len(f.regions))
	read := 0
	for i := range f.regions {
		s := &f.regions[i]
		g := region{Region: s.Region, end: f.end}
		if i+1 < len(f.regions) {
			g.end = f.regions[i+1].Offset
		}
		early := !q.Since.IsZero() && s.Last < q.Since.UnixNano()
		late := !q.Until.IsZero() && s.First >= q.Until.UnixNano()
		g.read = s.Describes || s.Timeless || s.any(wanted) && !early && !late
		if g.read {
			read++
		}
		regions = append(regions, g)
	}
	switch {
	case len(regions) == 0:
		return
	case read == 0:
		r.none, r.Bytes, r.Of, r.Index = true, 0, len(regions), "it has no such packet, as was seen when it was read before"
		return
	}
	r.Of = len(regions)
	r.choose(regions)
	if r.route == nil {
		r.Index = "all of its regions may have such packets, as was seen when they were read before"
		return
	}
	r.seen = f.file
	r.Index = fmt.Sprintf("%d of its %s may have such packets, as was seen when they were read before", r.Regions, text.Count(len(regions), "region"))
}

func (s *seenRegion) any(wanted map[uint32]struct{}) bool {
	if s.always {
		return true
	}
	few, many := wanted, s.keys
	if len(many) < len(few) {
		few, many = many, few
	}
	for k := range few {
		if _, has := many[k]; has {
			return true
		}
	}
	return false
}

// addressed reports whether there are flows, and all name both addresses.
func (fs Flows) addressed() bool {
	for i := range fs {
		if fs[i].IsID() {
			return false
		}
	}
	return len(fs) > 0
}
