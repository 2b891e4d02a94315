// Package alert reads what Suricata and Zeek say about flows, and gets the packets of these flows out of recordings.
//
// A line is an alert: one of Suricata's EVE (JSON), or one of Zeek's conn.log or notice.log, as JSON or with tabs behind
// header lines. The time of an alert is not that of its packets: Suricata writes many when a connection ends, and some with
// the time of another packet. So packets are found by the flow and by when it began.
package alert

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// A Format is how a line is written.
type Format string

// Formats.
const (
	EVE      Format = "eve"       // Suricata's
	ZeekJSON Format = "zeek-json" // Zeek's, an object in each line
	ZeekTSV  Format = "zeek-tsv"  // Zeek's, behind header lines
)

// An Alert is what a line says about a flow.
type Alert struct {
	Source string    `json:"source"` // name of the file, or of what else it was read from
	Line   int       `json:"line"`   // in it
	Format Format    `json:"format"`
	Event  string    `json:"event"` // EVE's event_type, or Zeek's log: conn, notice or, of others, zeek
	Time   time.Time `json:"time"`

	ID    string `json:"id,omitempty"`    // number of the signature, or name of the notice
	Title string `json:"title,omitempty"` // what it says
	UID   string `json:"uid,omitempty"`   // of the connection in Zeek's logs, or flow_id of EVE

	Ends        Ends      `json:"flow,omitzero"`   // zero: there is only the Community ID
	Outer       Ends      `json:"tunnel,omitzero"` // of the tunnel that carried it; zero: none
	VLANs       []uint16  `json:"vlan,omitempty"`
	CommunityID string    `json:"community_id,omitempty"`
	Start       time.Time `json:"flow_start,omitzero"` // of the flow; zero: not known
	End         time.Time `json:"flow_end,omitzero"`   // zero: not known, it may go on
}

// Ends are the two ends of a flow, and its protocol. The zero value is none.
type Ends struct {
	Src, Dst           netip.Addr
	SrcPort, DstPort   uint16
	HasSrc, HasDst     bool // the ports are known
	Proto              uint8
	HasProto           bool
	ICMPType, ICMPCode uint8
	HasICMP            bool // they are known
}

// IsZero reports whether there are no ends.
func (e Ends) IsZero() bool { return !e.Src.IsValid() }

// MarshalText spells the ends as String does.
func (e Ends) MarshalText() ([]byte, error) { return []byte(e.String()), nil }

// protocols are names of protocols, as capd extract --flow takes them.
var protocols = map[uint8]string{1: "icmp", 6: "tcp", 17: "udp", 33: "dccp", 47: "gre", 50: "esp", 58: "icmp6", 132: "sctp"}

// String spells the flow as capd extract --flow takes it.
func (e Ends) String() string {
	if e.IsZero() {
		return ""
	}
	s := end(e.Src, e.SrcPort, e.HasSrc) + " " + end(e.Dst, e.DstPort, e.HasDst)
	if !e.HasProto {
		return s
	}
	if name, ok := protocols[e.Proto]; ok {
		return s + " " + name
	}
	return s + " " + strconv.Itoa(int(e.Proto))
}

func end(a netip.Addr, port uint16, known bool) string {
	if known {
		return netip.AddrPortFrom(a, port).String()
	}
	return a.String()
}

// Flow spells the flow: its ends, or else its Community ID.
func (a *Alert) Flow() string {
	if a.Ends.IsZero() {
		return a.CommunityID
	}
	return a.Ends.String()
}

// maxName is how many bytes of the name of a signature are in the name of a file.
const maxName = 64

// Name is the name of a file for the alert's packets, without a suffix: the alert's time, its signature and its flow, in characters that
// every file system and shell takes as they are.
func (a *Alert) Name() string {
	id := a.ID
	if id == "" {
		id = a.Event
	}
	if len(id) > maxName {
		id = id[:maxName]
	}
	flow := strings.NewReplacer(" ", "-", "[", "", "]:", "_").Replace(a.Flow())
	if a.Ends.Src.Is4() {
		flow = strings.ReplaceAll(flow, ":", "_")
	}
	if a.Ends.HasICMP {
		flow += fmt.Sprintf("-%d-%d", a.Ends.ICMPType, a.Ends.ICMPCode)
	}
	return a.Time.UTC().Format("20060102T150405.000000Z") + "-" + safe(id) + "-" + safe(flow)
}

// safe replaces all but letters, digits and few signs.
func safe(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '_', r == '-':
			return r
		}
		return '-'
	}, s)
}
