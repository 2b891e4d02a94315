package read

import (
	"encoding/binary"
	"io"
	"math"

	"capd/filter"
	"capd/pcap"
)

// A Filter chooses packets of files. It compiles its expression anew for each link type.
type Filter struct {
	expr     string
	programs map[filter.Target]*filter.Program

	src     *File // of the last packet
	id      int   // its interface
	program *filter.Program
}

// NewFilter returns the filter of an expression; the empty one takes all.
func NewFilter(expr string) *Filter {
	return &Filter{expr: expr, programs: make(map[filter.Target]*filter.Program)}
}

// String returns the expression.
func (f *Filter) String() string { return f.expr }

// TakesAll reports whether every packet passes, of whatever link type. Only what can be proved counts.
func (f *Filter) TakesAll() bool {
	const unknown = math.MaxUint16 // what needs a link type is refused
	p, err := filter.Compile(f.expr, filter.Target{LinkType: unknown})
	return err == nil && p.AlwaysMatches() && len(p.Instructions) == 1
}

// Match reports whether the packet, which Next or NextRecord gave last, passes.
func (f *Filter) Match(src *File, p *pcap.Packet) (bool, error) {
	if id := src.InterfaceID(); f.program == nil || id != f.id || src != f.src {
		program, err := f.compile(targetOf(src))
		if err != nil {
			return false, err
		}
		f.src, f.id, f.program = src, id, program
	}
	return f.program.Match(p.Data, int(p.Length), nil) > 0, nil
}

// Undecided reports whether the packet, which Match has just refused, might pass if all of it were captured.
func (f *Filter) Undecided(p *pcap.Packet) bool { return f.program.Undecided(p.Data, int(p.Length)) }

func (f *Filter) compile(t filter.Target) (*filter.Program, error) {
	if p := f.programs[t]; p != nil {
		return p, nil
	}
	p, err := filter.Compile(f.expr, t)
	if err == nil {
		f.programs[t] = p
	}
	return p, err
}

// targetOf returns what a program for the last packet's interface is compiled for.
func targetOf(f *File) filter.Target {
	link := f.parser.Interface().LinkType
	return filter.Target{LinkType: filter.LinkType(link), Swapped: link == pcap.LinkTypeNull && f.parser.BigEndian() != nativeIsBig()}
}

func nativeIsBig() bool { return binary.NativeEndian.Uint16([]byte{0, 1}) == 1 }

// Target returns what a filter for the packets of a file is compiled for, as of its first packet, or of the file if it
// has none. It is called before Next.
func (f *File) Target() (filter.Target, error) {
	if _, err := f.Next(); err != nil && err != io.EOF {
		return filter.Target{}, err
	}
	return targetOf(f), nil
}
