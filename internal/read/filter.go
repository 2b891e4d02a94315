package read

import (
	"capd/filter"
	"capd/pcap"
)

// A Filter chooses packets of files. It compiles its expression anew for each link type.
type Filter struct {
	expr   string
	byLink map[pcap.LinkType]*filter.Program
}

// NewFilter returns the filter of an expression; the empty one takes all.
func NewFilter(expr string) *Filter {
	return &Filter{expr: expr, byLink: make(map[pcap.LinkType]*filter.Program)}
}

// String returns the expression.
func (f *Filter) String() string { return f.expr }

// Match reports whether a packet passes.
func (f *Filter) Match(link pcap.LinkType, p *pcap.Packet) (bool, error) {
	program := f.byLink[link]
	if program == nil {
		var err error
		if program, err = filter.Compile(f.expr, filter.Target{LinkType: filter.LinkType(link)}); err != nil {
			return false, err
		}
		f.byLink[link] = program
	}
	return program.Match(p.Data, int(p.Length), nil) > 0, nil
}
