package decode

import (
	"encoding/binary"
	"fmt"
	"time"
)

// udpPayload decodes a datagram by what marks it for certain, then by its
// ports, the lower one first.
func (d *Decoder) udpPayload(x data) {
	f := &d.frame
	low, high := min(f.SrcPort, f.DstPort), max(f.SrcPort, f.DstPort)
	b := x.b
	switch {
	case x.n == 0:
	case d.udpPort(low, x) || d.udpTunnel(low, x) || d.udpService(low, x):
	case d.udpPort(high, x) || d.udpTunnel(high, x) || d.udpService(high, x):
	case isDTLS(b):
		d.dtls(x)
	case len(b) >= 20 && b[0] < 64 && binary.BigEndian.Uint32(b[4:]) == 0x2112a442:
		d.stun(x)
	case isQUIC(b):
		d.quic(x)
	case x.n >= 102 && len(b) >= 18 && string(b[:6]) == "\xff\xff\xff\xff\xff\xff" && string(b[6:12]) == string(b[12:18]):
		d.wake(x)
	}
}

// udpTunnel decodes what carries another packet.
func (d *Decoder) udpTunnel(port uint16, x data) bool {
	switch port {
	case 4789, 4790, 8472:
		d.vxlan(x)
	case 6081:
		d.geneve(x)
	case 6635:
		if d.tunnel("mpls-in-udp", nil) {
			d.mpls(x)
		}
	case 2123, 2152:
		d.gtp(x)
	case 1701:
		d.l2tp(x)
	case 3544:
		d.teredo(x)
	default:
		return false
	}
	return true
}

func (d *Decoder) udpPort(port uint16, x data) bool {
	switch port {
	case 53:
		d.dns("dns", x)
	case 5353:
		d.dns("mdns", x)
	case 5355:
		d.dns("llmnr", x)
	case 137:
		d.dns("nbns", x)
	case 138:
		d.nbdgm(x)
	case 67, 68:
		d.dhcp(x)
	case 546, 547:
		d.dhcp6(x)
	case 123:
		d.ntp(x)
	case 69:
		d.tftp(x)
	case 161, 162:
		d.snmp(x)
	case 500, 4500:
		d.ike(port, x)
	case 520:
		d.rip(x)
	case 521:
		d.ripng(x)
	case 1985, 2029:
		d.hsrp(x)
	case 319, 320:
		d.ptp(x)
	default:
		return false
	}
	return true
}

func (d *Decoder) udpService(port uint16, x data) bool {
	switch port {
	case 514:
		d.text("syslog", x)
	case 1900:
		d.http("ssdp", x)
	case 5060:
		d.text("sip", x)
	case 1812, 1813, 1645, 1646:
		d.radius(x)
	case 3784, 4784:
		d.bfd(x)
	case 5683:
		d.coap(x)
	case 6343:
		d.sflow(x)
	case 2055, 4739, 9995:
		d.netflow(x)
	case 51820:
		d.wireguard(x)
	case 5351:
		d.natpmp(x)
	case 646:
		d.ldp(x)
	case 47808:
		d.bacnet(x)
	case 443:
		return d.https(x)
	case 7, 9:
		return d.magic(x)
	default:
		return false
	}
	return true
}

// https is QUIC, whose later packets hide everything.
func (d *Decoder) https(x data) bool {
	if isDTLS(x.b) {
		return false
	}
	d.quic(x)
	return true
}

func (d *Decoder) magic(x data) bool {
	if x.n < 102 || len(x.b) < 6 || string(x.b[:6]) != "\xff\xff\xff\xff\xff\xff" {
		return false
	}
	d.wake(x)
	return true
}

// teredo is IPv6 behind an optional authentication and origin.
func (d *Decoder) teredo(x data) {
	if !d.enter("teredo") {
		return
	}
	c := read(x)
	if len(c.b) >= 4 && c.b[0] == 0 && c.b[1] == 1 {
		c.u16()
		n := int(c.u8()) + int(c.u8())
		c.take(n + 9)
	}
	if len(c.b) >= 8 && c.b[0] == 0 && c.b[1] == 0 {
		c.take(8)
	}
	if d.ended(c) {
		return
	}
	if d.tunnel("teredo", nil) {
		d.ip(c.data)
	}
}

var ntpModes = []string{"reserved", "symmetric active", "symmetric passive", "client", "server", "broadcast", "control", "private"}

func (d *Decoder) ntp(x data) {
	if !d.enter("ntp") {
		return
	}
	c := read(x)
	first := c.u8()
	mode := int(first & 7)
	if mode >= 6 {
		if !d.ended(c) {
			d.say("v%d %s", first>>3&7, ntpModes[mode])
		}
		return
	}
	stratum, poll, precision := c.u8(), int8(c.u8()), int8(c.u8())
	delay, dispersion, id := c.u32(), c.u32(), c.take(4)
	reference, origin, receive, transmit := c.u64(), c.u64(), c.u64(), c.u64()
	if d.ended(c) {
		return
	}
	source := hexBytes(id)
	if stratum < 2 {
		source = printable(cString(id))
	}
	d.field("leap", "%d", first>>6)
	d.field("version", "%d", first>>3&7)
	d.field("mode", "%d (%s)", mode, ntpModes[mode])
	d.field("stratum", "%d", stratum)
	d.field("poll", "%d", poll)
	d.field("precision", "%d", precision)
	d.field("root delay", "%.6fs", float64(delay)/65536)
	d.field("root dispersion", "%.6fs", float64(dispersion)/65536)
	d.field("reference", "%s", source)
	for i, t := range []uint64{reference, origin, receive, transmit} {
		d.field([]string{"updated", "origin", "receive", "transmit"}[i], "%s", ntpTime(t))
	}
	d.say("v%d %s, stratum %d, poll %d, transmit %s", first>>3&7, ntpModes[mode], stratum, poll, ntpTime(transmit))
}

// ntpTime is a time of NTP's first era, or of its second.
func ntpTime(t uint64) string {
	if t == 0 {
		return "none"
	}
	sec := int64(t>>32) - 2208988800
	if t>>63 == 0 {
		sec += 1 << 32
	}
	return time.Unix(sec, int64(t&0xffffffff*1e9>>32)).UTC().Format("2006-01-02T15:04:05.000000Z")
}

var tftpOps = []string{1: "read", 2: "write", 3: "data", 4: "ack", 5: "error", 6: "option ack"}

func (d *Decoder) tftp(x data) {
	if !d.enter("tftp") {
		return
	}
	c := read(x)
	op := c.u16()
	if d.ended(c) {
		return
	}
	d.say("%s", pick(tftpOps, int(op)))
	switch op {
	case 1, 2:
		file := cString(c.b)
		c.take(len(file) + 1)
		d.say("%s %s", printable(file), printable(cString(c.b)))
	case 3, 4:
		if block := c.u16(); !d.ended(c) {
			d.say("block %d", block)
		}
	case 5:
		if code := c.u16(); !d.ended(c) {
			d.say("%d %s", code, printable(cString(c.b)))
		}
	}
}

var ikeExchanges = []string{
	2: "identity protection", 4: "aggressive", 5: "informational", 32: "quick", 34: "ike_sa_init", 35: "ike_auth", 36: "create_child_sa", 37: "informational",
}

// ike is IKE, and at its second port ESP too, which begins with no zeroes.
func (d *Decoder) ike(port uint16, x data) {
	if port == 4500 {
		if x.n == 1 {
			d.named("nat-keepalive", x)
			return
		}
		c := read(x)
		if marker := c.u32(); marker != 0 || c.short {
			d.esp(x)
			return
		}
		x = c.data
	}
	if !d.enter("isakmp") {
		return
	}
	c := read(x)
	initiator, responder := c.u64(), c.u64()
	next, version, exchange, flags, id, n := c.u8(), c.u8(), c.u8(), c.u8(), c.u32(), c.u32()
	if d.ended(c) {
		return
	}
	d.field("initiator", "%016x", initiator)
	d.field("responder", "%016x", responder)
	d.field("next payload", "%d", next)
	d.field("flags", "0x%02x", flags)
	d.field("length", "%d", n)
	d.say("v%d.%d %s, spi %016x %016x, id %d", version>>4, version&15, pick(ikeExchanges, int(exchange)), initiator, responder, id)
}

var radiusCodes = []string{
	1: "access-request", 2: "access-accept", 3: "access-reject", 4: "accounting-request", 5: "accounting-response", 11: "access-challenge",
	12: "status-server", 13: "status-client", 40: "disconnect-request", 41: "disconnect-ack", 42: "disconnect-nak", 43: "coa-request",
	44: "coa-ack", 45: "coa-nak",
}

func (d *Decoder) radius(x data) {
	if !d.enter("radius") {
		return
	}
	c := read(x)
	code, id, n := c.u8(), c.u8(), c.u16()
	c.take(16)
	if d.ended(c) {
		return
	}
	d.field("length", "%d", n)
	d.say("%s, id %d", pick(radiusCodes, int(code)), id)
	for i := 0; c.n > 0 && i < maxItems; i++ {
		kind, size := c.u8(), int(c.u8())
		if !c.short && size < 2 {
			d.bad("radius attribute of %d bytes", size)
			return
		}
		b := c.take(size - 2)
		if d.ended(c) {
			return
		}
		switch kind {
		case 1:
			d.field("user", "%s", printable(b))
			d.say("user %s", printable(b))
		case 2:
			d.field("password", "%d bytes", len(b))
		default:
			d.field("attribute", "%d 0x%s", kind, hexBytes(b))
		}
	}
}

var stunMethods = []string{1: "binding", 3: "allocate", 4: "refresh", 6: "send", 7: "data", 8: "create permission", 9: "channel bind"}

func (d *Decoder) stun(x data) {
	if !d.enter("stun") {
		return
	}
	c := read(x)
	kind, n := c.u16(), c.u16()
	c.u32()
	id := c.take(12)
	if d.ended(c) {
		return
	}
	class := []string{"request", "indication", "success", "error"}[kind>>7&2|kind>>4&1]
	method := kind&15 | kind>>1&0x70 | kind>>2&0xf80
	d.field("length", "%d", n)
	d.say("%s %s, id %s", pick(stunMethods, int(method)), class, hexBytes(id))
}

func (d *Decoder) coap(x data) {
	if !d.enter("coap") {
		return
	}
	c := read(x)
	first, code, id := c.u8(), c.u8(), c.u16()
	token := c.take(int(first & 15))
	if d.ended(c) {
		return
	}
	kind := []string{"confirmable", "non-confirmable", "acknowledgement", "reset"}[first>>4&3]
	name := fmt.Sprintf("%d.%02d", code>>5, code&31)
	if code < 8 {
		name = []string{"empty", "GET", "POST", "PUT", "DELETE", "FETCH", "PATCH", "iPATCH"}[code]
	}
	d.field("token", "%s", hexBytes(token))
	d.say("v%d %s %s, id %d", first>>6, kind, name, id)
}
