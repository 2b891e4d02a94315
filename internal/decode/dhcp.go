package decode

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

var (
	dhcpMessages = []string{
		1: "discover", 2: "offer", 3: "request", 4: "decline", 5: "ack", 6: "nak", 7: "release", 8: "inform", 9: "force-renew",
		10: "lease-query", 11: "lease-unassigned", 12: "lease-unknown", 13: "lease-active",
	}
	dhcpOptions = map[uint8]string{
		1: "mask", 2: "time offset", 3: "router", 4: "time server", 6: "dns", 12: "hostname", 15: "domain", 28: "broadcast", 42: "ntp", 43: "vendor",
		44: "netbios server", 50: "requested", 51: "lease", 53: "message", 54: "server", 55: "parameters", 56: "text", 57: "max size",
		58: "renew", 59: "rebind", 60: "vendor class", 61: "client id", 66: "tftp server", 67: "boot file", 81: "fqdn", 82: "relay",
		119: "search", 121: "routes",
	}
)

func dhcp(s *sink, x data) {
	if !s.enter("dhcp") {
		return
	}
	f := s.frame
	c := read(x)
	op, hardware, hlen, hops, xid := c.u8(), c.u8(), c.u8(), c.u8(), c.u32()
	secs, flags, client, yours, server, relay := c.u16(), c.u16(), c.ip4(), c.ip4(), c.ip4(), c.ip4()
	address := c.take(16)
	sname, file := c.take(64), c.take(128)
	if s.ended(c) {
		return
	}
	m := &s.room.dhcp
	*m = DHCP{Message: pick([]string{1: "bootp request", 2: "bootp reply"}, int(op)), Transaction: xid}
	f.DHCP = m
	if hlen == 6 {
		m.ClientMAC = keep(&s.room.clientMAC, MAC(address[:6]))
	}
	set(&m.Client, client)
	set(&m.Yours, yours)
	set(&m.Server, server)
	s.field("operation", "%d", op)
	s.field("hardware", "%d length %d", hardware, hlen)
	s.field("hops", "%d", hops)
	s.field("transaction", "0x%08x", xid)
	s.field("seconds", "%d", secs)
	s.field("flags", "0x%04x", flags)
	s.field("addresses", "client %s yours %s server %s relay %s", client, yours, server, relay)
	s.field("client", "%s", hexBytes(address[:min(hlen, 16)]))
	s.field("server name", "%s", printable(cString(sname)))
	s.field("file", "%s", printable(cString(file)))
	if c.u32() == 0x63825363 {
		dhcpOptionList(s, m, c)
	}
	dhcpWords(s, m, relay)
}

// set sets an address, unless it is all zeroes.
func set(to *netip.Addr, a netip.Addr) {
	if !a.IsUnspecified() {
		*to = a
	}
}

func dhcpWords(s *sink, m *DHCP, relay netip.Addr) {
	s.sayText(m.Message)
	if m.ClientMAC != nil {
		s.say("client %s", m.ClientMAC)
	}
	s.say("xid 0x%08x", m.Transaction)
	for _, a := range []struct {
		name string
		addr netip.Addr
	}{{"has", m.Client}, {"gets", m.Yours}, {"wants", m.Requested}, {"server", m.Server}} {
		if a.addr.IsValid() {
			s.say("%s %s", a.name, a.addr)
		}
	}
	if !relay.IsUnspecified() {
		s.say("relay %s", relay)
	}
	if m.Hostname != "" {
		s.sayText("hostname ", m.Hostname)
	}
}

func dhcpOptionList(s *sink, m *DHCP, c *cursor) {
	for i := 0; c.n > 0 && i < 4*maxItems; i++ {
		kind := c.u8()
		if kind == 0 && !c.short {
			continue
		}
		if kind == 255 {
			return
		}
		b := c.take(int(c.u8()))
		if s.ended(c) {
			return
		}
		dhcpOption(s, m, kind, b)
	}
}

func dhcpOption(s *sink, m *DHCP, kind uint8, b []byte) {
	name, ok := dhcpOptions[kind]
	if !ok {
		name = "option " + number(int(kind))
	}
	switch {
	case kind == 53 && len(b) == 1:
		m.Message = pick(dhcpMessages, int(b[0]))
	case kind == 50 && len(b) == 4:
		m.Requested = netip.AddrFrom4([4]byte(b))
	case kind == 54 && len(b) == 4:
		m.Server = netip.AddrFrom4([4]byte(b))
	case kind == 12:
		m.Hostname = printable(b)
	}
	if s.verbose {
		s.field(name, "%s", dhcpValue(kind, b))
	}
}

func dhcpValue(kind uint8, b []byte) string {
	switch kind {
	case 1, 3, 4, 6, 28, 42, 44, 50, 54:
		if s := addresses(b); s != "" {
			return s
		}
	case 12, 15, 56, 60, 66, 67:
		return printable(b)
	case 2, 51, 58, 59:
		if len(b) == 4 {
			return fmt.Sprintf("%ds", binary.BigEndian.Uint32(b))
		}
	case 53:
		if len(b) == 1 {
			return pick(dhcpMessages, int(b[0]))
		}
	}
	return "0x" + hexBytes(b)
}

func addresses(b []byte) string {
	s := ""
	for i := 0; len(b) >= 4 && i < maxItems; i++ {
		if i > 0 {
			s += " "
		}
		s += netip.AddrFrom4([4]byte(b)).String()
		b = b[4:]
	}
	return s
}

var (
	dhcp6Messages = []string{
		1: "solicit", 2: "advertise", 3: "request", 4: "confirm", 5: "renew", 6: "rebind", 7: "reply", 8: "release", 9: "decline",
		10: "reconfigure", 11: "information-request", 12: "relay-forward", 13: "relay-reply",
	}
	dhcp6Options = []string{
		1: "client id", 2: "server id", 3: "ia-na", 4: "ia-ta", 5: "address", 6: "requested options", 7: "preference", 8: "elapsed", 9: "relay message",
		11: "authentication", 13: "status", 14: "rapid commit", 15: "user class", 16: "vendor class", 18: "interface id", 23: "dns", 24: "search", 25: "ia-pd",
		26: "prefix", 31: "sntp", 39: "fqdn",
	}
)

func dhcp6(s *sink, x data) {
	if !s.enter("dhcpv6") {
		return
	}
	f := s.frame
	m := &s.room.dhcp
	c := read(x)
	kind := c.u8()
	*m = DHCP{Message: pick(dhcp6Messages, int(kind))}
	f.DHCP = m
	if kind == 12 || kind == 13 {
		hops, link, peer := c.u8(), c.ip6(), c.ip6()
		if s.ended(c) {
			return
		}
		s.field("hops", "%d", hops)
		s.say("%s, link %s, peer %s", m.Message, link, peer)
	} else {
		m.Transaction = c.u24()
		if s.ended(c) {
			return
		}
		s.field("transaction", "0x%06x", m.Transaction)
		s.say("%s, xid 0x%06x", m.Message, m.Transaction)
	}
	dhcp6OptionList(s, m, c, 0)
}

// dhcp6OptionList reads options, and those in an identity's option: no deeper.
func dhcp6OptionList(s *sink, m *DHCP, c *cursor, depth int) {
	for i := 0; c.n > 0 && i < maxItems; i++ {
		kind := c.u16()
		b := c.take(int(c.u16()))
		if s.ended(c) {
			return
		}
		s.field(pick(dhcp6Options, int(kind)), "0x%s", hexBytes(b))
		switch {
		case (kind == 3 || kind == 25) && len(b) >= 12 && depth == 0:
			dhcp6OptionList(s, m, read(data{b[12:], len(b) - 12}), 1)
		case kind == 5 && len(b) >= 24:
			m.Yours = netip.AddrFrom16([16]byte(b))
			s.say("address %s", m.Yours)
		case kind == 26 && len(b) >= 25:
			s.say("prefix %s/%d", netip.AddrFrom16([16]byte(b[9:])), b[8])
		case kind == 39 && len(b) > 1:
			m.Hostname = searchList(append(b[1:len(b):len(b)], 0))
			s.sayText("fqdn ", m.Hostname)
		}
	}
}
