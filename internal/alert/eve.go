package alert

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// An eve is what is read of a line of EVE.
type eve struct {
	Timestamp   string      `json:"timestamp"`
	EventType   string      `json:"event_type"`
	FlowID      json.Number `json:"flow_id"`
	VLAN        vlans       `json:"vlan"`
	CommunityID string      `json:"community_id"`
	eveEnds
	Tunnel *eveEnds `json:"tunnel"`
	Flow   struct {
		Start string `json:"start"`
		End   string `json:"end"`
	} `json:"flow"`
	Alert struct {
		ID        json.Number `json:"signature_id"`
		Signature string      `json:"signature"`
	} `json:"alert"`
	Anomaly struct {
		Event string `json:"event"`
	} `json:"anomaly"`
}

type eveEnds struct {
	SrcIP    string  `json:"src_ip"`
	DestIP   string  `json:"dest_ip"`
	SrcPort  *uint16 `json:"src_port"`
	DestPort *uint16 `json:"dest_port"`
	Proto    string  `json:"proto"`
	ICMPType *uint8  `json:"icmp_type"`
	ICMPCode *uint8  `json:"icmp_code"`
}

// vlans are ids: one, or several.
type vlans []uint16

// UnmarshalJSON reads a number or an array of them.
func (v *vlans) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] != '[' {
		b = slices.Concat([]byte("["), b, []byte("]"))
	}
	return json.Unmarshal(b, (*[]uint16)(v))
}

// errNoFlow says that a line has nothing to find packets by.
var errNoFlow = errors.New("it names no flow: neither two addresses nor a Community ID")

func parseEVE(line []byte) (*Alert, error) {
	var e eve
	if err := json.Unmarshal(line, &e); err != nil {
		return nil, plain(err)
	}
	a := &Alert{Format: EVE, Event: e.EventType, Title: e.Alert.Signature, VLANs: e.VLAN, CommunityID: e.CommunityID, UID: e.FlowID.String()}
	a.ID = cmp.Or(e.Alert.ID.String(), e.Anomaly.Event)
	var err error
	if a.Time, err = eveTime(e.Timestamp); err != nil {
		return nil, fmt.Errorf("timestamp: %w", err)
	}
	if a.Ends, err = e.ends(); err != nil {
		return a, err
	}
	if e.Tunnel != nil {
		if a.Outer, err = e.Tunnel.ends(); err != nil {
			return a, fmt.Errorf("tunnel: %w", err)
		}
	}
	for _, t := range []struct {
		text string
		to   *time.Time
	}{{e.Flow.Start, &a.Start}, {e.Flow.End, &a.End}} {
		if t.text == "" {
			continue
		}
		if *t.to, err = eveTime(t.text); err != nil {
			return a, fmt.Errorf("flow: %w", err)
		}
	}
	return a, a.check()
}

// check refuses what no packets can be found by.
func (a *Alert) check() error {
	if a.CommunityID != "" && (len(a.CommunityID) != 30 || !strings.HasPrefix(a.CommunityID, "1:")) {
		return fmt.Errorf("%q is no Community ID of version 1", clip(a.CommunityID))
	}
	if a.Ends.IsZero() && a.CommunityID == "" {
		return errNoFlow
	}
	return nil
}

// eveTime reads a time as Suricata writes it, whose offset has no colon, or as RFC 3339 has it.
func eveTime(s string) (time.Time, error) {
	for _, layout := range []string{"2006-01-02T15:04:05.999999999-0700", time.RFC3339Nano} {
		if t, err := time.Parse(layout, s); err == nil {
			return inRange(t)
		}
	}
	return time.Time{}, fmt.Errorf("%q is no time", clip(s))
}

// inRange refuses times that no packet has.
func inRange(t time.Time) (time.Time, error) {
	if t.Year() < 1970 || t.Year() > 2105 {
		return time.Time{}, fmt.Errorf("%d is no year of a packet", t.Year())
	}
	return t.UTC(), nil
}

func (e *eveEnds) ends() (x Ends, err error) {
	if e.SrcIP == "" && e.DestIP == "" {
		return x, nil
	}
	if x.Src, x.Dst, err = parseAddrs(e.SrcIP, e.DestIP); err != nil {
		return Ends{}, err
	}
	if x.Proto, x.HasProto = parseProto(e.Proto); isICMP(x.Proto) {
		if x.HasICMP = e.ICMPType != nil && e.ICMPCode != nil; x.HasICMP {
			x.ICMPType, x.ICMPCode = *e.ICMPType, *e.ICMPCode
		}
		return x, nil
	}
	x.ports(e.SrcPort, e.DestPort)
	return x, nil
}

func (e *Ends) ports(src, dst *uint16) {
	if e.HasProto && !hasPorts(e.Proto) {
		return
	}
	if src != nil {
		e.SrcPort, e.HasSrc = *src, true
	}
	if dst != nil {
		e.DstPort, e.HasDst = *dst, true
	}
}

func isICMP(proto uint8) bool { return proto == 1 || proto == 58 }

// hasPorts reports whether package flow finds ports in packets of a protocol.
func hasPorts(proto uint8) bool {
	switch proto {
	case 6, 17, 33, 132, 136:
		return true
	}
	return false
}

// parseAddrs reads the addresses of a flow.
func parseAddrs(src, dst string) (a, b netip.Addr, err error) {
	for _, p := range []struct {
		text string
		to   *netip.Addr
	}{{src, &a}, {dst, &b}} {
		if *p.to, err = netip.ParseAddr(p.text); err != nil || p.to.Zone() != "" {
			return a, b, fmt.Errorf("%q is no address", clip(p.text))
		}
	}
	if a.Is4() != b.Is4() {
		return a, b, errors.New("one address is of IPv4 and the other of IPv6")
	}
	return a, b, nil
}

// parseProto reads a protocol of IP, by one of the names that Suricata and Zeek have for it, or its number.
func parseProto(s string) (proto uint8, ok bool) {
	switch s = strings.ToLower(s); s {
	case "ipv6-icmp", "icmpv6":
		return 58, true
	case "udplite":
		return 136, true
	}
	for n, name := range protocols {
		if name == s {
			return n, true
		}
	}
	n, err := strconv.ParseUint(s, 10, 8)
	return uint8(n), err == nil
}

// plain puts the library's words for bad JSON into ours.
func plain(err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("no JSON at byte %d: %w", syntax.Offset, err)
	case errors.As(err, &kind):
		return fmt.Errorf("%q is %s, and no %v", clip(strings.TrimPrefix(kind.Field, "eveEnds.")), kind.Value, kind.Type)
	}
	return err
}

// clip leaves the begin of long text.
func clip(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}

// isEVE reports whether an object is of EVE, and not of Zeek.
func isEVE(line []byte) bool { return bytes.Contains(line, []byte(`"event_type"`)) }
