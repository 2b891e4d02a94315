package web

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"

	"capd/internal/index"
	"capd/internal/text"
)

// Flows are lines of what talked.
type flows struct {
	Flows   []flowLine   `json:"flows,omitempty"`   // with group=flows
	Groups  []groupLine  `json:"groups,omitempty"`  // with another group
	Total   index.Counts `json:"total"`             // of all that are asked for
	More    bool         `json:"more"`              // there are more
	Scanned int          `json:"scanned"`           // files that were read, as they have no table
	Tables  int          `json:"tables"`            // files whose tables were asked
	Inexact bool         `json:"inexact,omitempty"` // there are too many flows to count each
	Trouble []string     `json:"trouble,omitempty"`
}

// A flowLine is a flow of a directory.
type flowLine struct {
	Directory string `json:"directory"`
	Protocol  string `json:"protocol"`
	Name      string `json:"name,omitempty"` // that parameter flow takes; empty: the flow has none
	index.Flow
}

// A groupLine is what flows have in common.
type groupLine struct {
	Name    string `json:"name"`
	Filter  string `json:"filter,omitempty"` // that takes its packets
	Flows   uint64 `json:"flows"`
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

// A tooMuchError says that flows would cost too much to read.
type tooMuchError struct{ bytes int64 }

func (e *tooMuchError) Error() string {
	return fmt.Sprintf("%s of files without flow tables would have to be read", text.Size(e.bytes))
}

// Hints says what to do about it.
func (e *tooMuchError) Hints() []string {
	return []string{"choose less time, or make flow tables with capd index DIR"}
}

// flows answers GET /v1/flows.
func (s *Server) flows(ctx context.Context, q *query) (any, error) {
	looks, err := s.looks(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	total := int64(0)
	x := index.Query{
		Expression: q.expression, Interfaces: q.interfaces, Since: q.since, Until: q.until, By: q.by, Identities: s.config.Identities,
		Only: q.overlaps(looks, s.directories),
		Begin: func(n int64) {
			if total += n; total > s.config.Limits.Read {
				cancel(&tooMuchError{total})
			}
		},
	}
	if q.group == groupFlows {
		x.Top = q.offset + q.limit + 1
	}
	out := new(flows)
	var all []flowLine
	for _, d := range s.directories {
		a, err := index.Flows(ctx, d.path, x)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			return nil, err
		}
		for i := range a.Flows {
			all = append(all, newFlowLine(d.path, &a.Flows[i]))
		}
		out.add(a)
	}
	if q.group != groupFlows {
		out.Groups, out.More = page(grouped(all, q), q)
		return out, nil
	}
	slices.SortStableFunc(all, func(a, b flowLine) int { return cmp.Compare(measure(&b.Counts, q.by), measure(&a.Counts, q.by)) })
	out.Flows, out.More = page(all, q)
	return out, nil
}

func (f *flows) add(a *index.Answer) {
	f.Total.Flows += a.Total.Flows
	f.Total.APackets += a.Total.APackets
	f.Total.BPackets += a.Total.BPackets
	f.Total.ABytes += a.Total.ABytes
	f.Total.BBytes += a.Total.BBytes
	f.Scanned += a.Scanned + a.Undecided
	f.Tables += a.Tables
	f.Inexact = f.Inexact || a.Inexact
	f.Trouble = append(f.Trouble, a.Trouble...)
}

func measure(c *index.Counts, by index.Measure) uint64 {
	if by == index.ByPackets {
		return c.APackets + c.BPackets
	}
	return c.ABytes + c.BBytes
}

// page returns the lines that are asked for, and whether more follow.
func page[T any](all []T, q *query) ([]T, bool) {
	all = all[min(q.offset, len(all)):]
	if len(all) > q.limit {
		return all[:q.limit], true
	}
	return append([]T{}, all...), false
}

// protocols are the names of protocols of IP that filters and --flow know.
var protocols = map[uint8]string{1: "icmp", 2: "igmp", 6: "tcp", 17: "udp", 47: "gre", 50: "esp", 58: "icmp6", 89: "ospf", 132: "sctp"}

func newFlowLine(dir string, f *index.Flow) flowLine {
	l := flowLine{Directory: dir, Flow: *f}
	switch {
	case f.Proto == nil && f.EtherType == 0x0806:
		l.Protocol = "arp"
	case f.Proto == nil && f.EtherType != 0:
		l.Protocol = fmt.Sprintf("0x%04x", f.EtherType)
	case f.Proto == nil:
	case protocols[*f.Proto] != "":
		l.Protocol = protocols[*f.Proto]
	default:
		l.Protocol = strconv.Itoa(int(*f.Proto))
	}
	if f.Proto != nil && f.A != "" && f.B != "" && !f.Unlisted {
		l.Name = flowEnd(f.A, f.APort) + " " + flowEnd(f.B, f.BPort) + " " + l.Protocol
	}
	return l
}

func flowEnd(addr string, port *uint16) string {
	if port == nil {
		return addr
	}
	for _, r := range addr {
		if r == ':' {
			addr = "[" + addr + "]"
			break
		}
	}
	return addr + ":" + strconv.Itoa(int(*port))
}

// grouped sums flows up by what the query says, those with the most first.
func grouped(all []flowLine, q *query) []groupLine {
	sums := make(map[string]*groupLine)
	add := func(name, filter string, f *flowLine) {
		if name == "" {
			return
		}
		g := sums[name]
		if g == nil {
			g = &groupLine{Name: name, Filter: filter}
			sums[name] = g
		}
		g.Flows += f.Counts.Flows
		g.Packets += f.APackets + f.BPackets
		g.Bytes += f.ABytes + f.BBytes
	}
	for i := range all {
		f := &all[i]
		switch q.group {
		case groupHosts:
			add(f.A, hostFilter(f, f.A), f)
			if f.B != f.A {
				add(f.B, hostFilter(f, f.B), f)
			}
		case groupPorts:
			if port := servicePort(f); port != nil {
				name := f.Protocol + " " + strconv.Itoa(int(*port))
				add(name, f.Protocol+" port "+strconv.Itoa(int(*port)), f)
			}
		case groupProtocols:
			add(f.Protocol, protocolFilter(f), f)
		}
	}
	lines := make([]groupLine, 0, len(sums))
	for _, g := range sums {
		lines = append(lines, *g)
	}
	slices.SortFunc(lines, func(a, b groupLine) int {
		if q.by == index.ByPackets {
			return cmp.Or(cmp.Compare(b.Packets, a.Packets), cmp.Compare(a.Name, b.Name))
		}
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Name, b.Name))
	})
	return lines
}

// servicePort is the lower one: that of a server, as a rule.
func servicePort(f *flowLine) *uint16 {
	if f.APort == nil || f.BPort != nil && *f.BPort < *f.APort {
		return f.BPort
	}
	return f.APort
}

func hostFilter(f *flowLine, addr string) string {
	if f.Proto == nil && f.EtherType != 0x0806 {
		return "ether host " + addr
	}
	return "host " + addr
}

func protocolFilter(f *flowLine) string {
	switch {
	case f.Proto != nil && *f.Proto != 89 && protocols[*f.Proto] != "":
		return protocols[*f.Proto] // word of the language
	case f.Proto != nil:
		return "ip proto " + strconv.Itoa(int(*f.Proto))
	case f.EtherType == 0x0806:
		return "arp"
	}
	return fmt.Sprintf("ether proto 0x%04x", f.EtherType)
}
