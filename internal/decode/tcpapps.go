package decode

import "encoding/binary"

// tcpPayload decodes a segment that begins a message. What it is shows in its
// first bytes where that is certain, and else in the ports.
func (d *Decoder) tcpPayload(x data) {
	b := x.b
	switch {
	case isTLS(b):
		d.tls(x)
	case isHTTP(b):
		d.http("http", x)
	case len(b) > 4 && string(b[:4]) == "SSH-":
		d.text("ssh", x)
	case len(b) >= 19 && string(b[:16]) == "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff":
		d.bgp(x)
	case len(b) >= 8 && (string(b[4:8]) == "\xfeSMB" || string(b[4:8]) == "\xffSMB"):
		d.smb(x)
	default:
		f := &d.frame
		low, high := min(f.SrcPort, f.DstPort), max(f.SrcPort, f.DstPort)
		if !d.tcpPort(low, x) && !d.tcpText(low, x) && !d.tcpPort(high, x) {
			d.tcpText(high, x)
		}
	}
}

// tcpPort decodes by a port. What can't begin a message of its protocol stays
// TCP: most segments of a long message begin in its middle.
func (d *Decoder) tcpPort(port uint16, x data) bool {
	switch port {
	case 53:
		d.dnsTCP(x)
	case 102:
		d.tpkt("iso-tsap", x)
	case 502:
		d.modbus(x)
	case 646:
		d.ldp(x)
	case 1723:
		d.pptpControl(x)
	case 1883:
		d.mqtt(x)
	case 3260:
		d.iscsi(x)
	case 3306:
		d.mysql(x)
	case 3389:
		d.tpkt("rdp", x)
	case 3868:
		d.diameter(x)
	case 5432:
		d.postgres(x)
	case 6653, 6633:
		d.openflow(x)
	default:
		return false
	}
	return true
}

func (d *Decoder) tcpText(port uint16, x data) bool {
	name := textPort(port)
	if name == "" || !isText(x.b) {
		return false
	}
	d.text(name, x)
	return true
}

// textPort is the protocol of lines that is spoken at a port.
func textPort(port uint16) string {
	switch port {
	case 21:
		return "ftp"
	case 25, 587:
		return "smtp"
	case 43:
		return "whois"
	case 79:
		return "finger"
	case 110:
		return "pop3"
	case 119:
		return "nntp"
	case 143:
		return "imap"
	case 514:
		return "syslog"
	case 554:
		return "rtsp"
	case 5060:
		return "sip"
	case 5222, 5269:
		return "xmpp"
	case 6379:
		return "redis"
	case 6667:
		return "irc"
	case 11211:
		return "memcache"
	}
	return ""
}

var smbCommands = []string{
	"negotiate", "session-setup", "logoff", "tree-connect", "tree-disconnect", "create", "close", "flush", "read", "write", "lock",
	"ioctl", "cancel", "echo", "query-directory", "change-notify", "query-info", "set-info", "oplock-break",
}

// smb is SMB in NetBIOS's frame; version 2 has little-endian numbers.
func (d *Decoder) smb(x data) {
	if !d.enter("smb") {
		return
	}
	c := read(x.from(4))
	first := c.u8()
	c.take(3)
	if first == 0xff {
		command := c.u8()
		if !d.ended(c) {
			d.say("v1, command 0x%02x", command)
		}
		return
	}
	c.take(8)
	command := c.take(2)
	c.u16()
	flags := c.take(4)
	if d.ended(c) {
		return
	}
	what := "request"
	if flags[0]&1 != 0 {
		what = "response"
	}
	d.say("v2 %s %s", pick(smbCommands, int(binary.LittleEndian.Uint16(command))), what)
}

var cotpNames = []string{6: "credit", 8: "disconnect request", 12: "disconnect confirm", 13: "connect confirm", 14: "connect request", 15: "data"}

func (d *Decoder) tpkt(name string, x data) {
	c := read(x)
	version, _, n, header, kind := c.u8(), c.u8(), c.u16(), c.u8(), c.u8()
	if version != 3 && len(x.b) > 0 {
		return // a message's later segment
	}
	if !d.enter(name) || d.ended(c) {
		return
	}
	d.field("length", "%d", n)
	d.field("header length", "%d", header)
	d.say("%s", pick(cotpNames, int(kind>>4)))
}

var modbusFunctions = []string{
	1: "read coils", 2: "read discrete inputs", 3: "read holding registers", 4: "read input registers", 5: "write coil", 6: "write register",
	7: "read exception status", 8: "diagnostics", 15: "write coils", 16: "write registers", 22: "mask write register", 23: "read/write registers", 43: "device identification",
}

func (d *Decoder) modbus(x data) {
	c := read(x)
	id, proto, n, unit, function := c.u16(), c.u16(), c.u16(), c.u8(), c.u8()
	if proto != 0 {
		return
	}
	if !d.enter("modbus") || d.ended(c) {
		return
	}
	d.field("length", "%d", n)
	d.say("id %d, unit %d, %s", id, unit, pick(modbusFunctions, int(function&0x7f)))
	if function&0x80 != 0 {
		d.say("exception %d", c.u8())
	}
}

var ldpNames = map[uint16]string{
	0x001: "notification", 0x100: "hello", 0x200: "initialization", 0x201: "keepalive", 0x300: "address", 0x301: "address withdraw",
	0x400: "label mapping", 0x401: "label request", 0x402: "label withdraw", 0x403: "label release", 0x404: "label abort",
}

func (d *Decoder) ldp(x data) {
	c := read(x)
	version, n, router, space := c.u16(), c.u16(), c.ip4(), c.u16()
	if version != 1 && len(x.b) > 1 {
		return
	}
	if !d.enter("ldp") || d.ended(c) {
		return
	}
	d.field("length", "%d", n)
	d.say("router %s:%d", router, space)
	kind := c.u16() & 0x7fff
	if name, ok := ldpNames[kind]; ok && !c.short {
		d.say("%s", name)
	}
}

var pptpNames = []string{
	1: "start request", 2: "start reply", 3: "stop request", 4: "stop reply", 5: "echo request", 6: "echo reply", 7: "call request",
	8: "call reply", 9: "incoming request", 10: "incoming reply", 11: "incoming connected", 12: "call clear", 13: "call disconnect", 14: "error", 15: "set link",
}

func (d *Decoder) pptpControl(x data) {
	c := read(x)
	n, kind, cookie, message := c.u16(), c.u16(), c.u32(), c.u16()
	if len(x.b) >= 8 && cookie != 0x1a2b3c4d {
		return
	}
	if !d.enter("pptp") || d.ended(c) {
		return
	}
	d.field("length", "%d", n)
	d.field("type", "%d", kind)
	d.say("%s", pick(pptpNames, int(message)))
}

var mqttTypes = []string{
	1: "connect", 2: "connack", 3: "publish", 4: "puback", 5: "pubrec", 6: "pubrel", 7: "pubcomp", 8: "subscribe", 9: "suback",
	10: "unsubscribe", 11: "unsuback", 12: "pingreq", 13: "pingresp", 14: "disconnect", 15: "auth",
}

func (d *Decoder) mqtt(x data) {
	c := read(x)
	first := c.u8()
	if !c.short && first>>4 == 0 || !d.enter("mqtt") {
		return
	}
	n, shift := 0, 0
	for range 4 {
		b := c.u8()
		n |= int(b&0x7f) << shift
		shift += 7
		if b&0x80 == 0 {
			break
		}
	}
	if d.ended(c) {
		return
	}
	d.field("flags", "0x%x", first&15)
	d.field("length", "%d", n)
	d.say("%s", pick(mqttTypes, int(first>>4)))
	if first>>4 == 1 || first>>4 == 3 {
		b := c.take(int(c.u16()))
		if !c.short {
			d.more(" %s", printable(b))
		}
	}
}

var iscsiNames = map[uint8]string{
	0: "nop-out", 1: "command", 2: "task request", 3: "login request", 4: "text request", 5: "data-out", 6: "logout request",
	0x20: "nop-in", 0x21: "response", 0x22: "task response", 0x23: "login response", 0x24: "text response", 0x25: "data-in",
	0x26: "logout response", 0x31: "r2t", 0x32: "async", 0x3f: "reject",
}

func (d *Decoder) iscsi(x data) {
	c := read(x)
	name, ok := iscsiNames[c.u8()&0x3f]
	if !c.short && !ok || !d.enter("iscsi") || d.ended(c) {
		return
	}
	d.say("%s", name)
}

// mysql shows a server's greeting and a client's query.
func (d *Decoder) mysql(x data) {
	c := read(x)
	size, seq, first := c.take(3), c.u8(), c.u8()
	if !c.short && (size[2] > 15 || string(size) == "\x00\x00\x00") || !d.enter("mysql") || d.ended(c) {
		return
	}
	d.field("length", "%d", int(size[2])<<16|int(size[1])<<8|int(size[0]))
	d.field("sequence", "%d", seq)
	switch {
	case seq == 0 && first == 10 && d.frame.SrcPort == 3306:
		d.say("greeting %s", printable(cString(c.b)))
	case seq == 0 && first == 3:
		d.say("query %s", printable(firstLine(c.b)))
	default:
		d.say("packet %d, 0x%02x", seq, first)
	}
}

func (d *Decoder) postgres(x data) {
	c := read(x)
	kind := c.u8()
	if kind != 0 && (kind < '1' || kind > 'z') || !d.enter("postgresql") || d.ended(c) {
		return
	}
	switch {
	case kind == 0:
		c.take(3)
		if v := c.u32(); !d.ended(c) {
			d.say("start 0x%08x", v)
		}
	case kind == 'Q':
		c.u32()
		d.say("query %s", printable(cString(firstLine(c.b))))
	default:
		d.say("message %s", printable([]byte{kind}))
	}
}

var diameterNames = map[uint32]string{257: "capabilities exchange", 258: "re-auth", 272: "credit control", 274: "abort session", 275: "session termination", 280: "watchdog", 282: "disconnect peer"}

func (d *Decoder) diameter(x data) {
	c := read(x)
	version, n, flags, code, app := c.u8(), c.u24(), c.u8(), c.u24(), c.u32()
	if version != 1 {
		return
	}
	if !d.enter("diameter") || d.ended(c) {
		return
	}
	what := "answer"
	if flags&0x80 != 0 {
		what = "request"
	}
	name, ok := diameterNames[code]
	if !ok {
		name = "command " + number(int(code))
	}
	d.field("length", "%d", n)
	d.say("%s %s, application %d", name, what, app)
}

var openflowNames = []string{0: "hello", 1: "error", 2: "echo request", 3: "echo reply", 4: "experimenter", 5: "features request", 6: "features reply", 10: "packet in", 13: "packet out", 14: "flow mod"}

func (d *Decoder) openflow(x data) {
	c := read(x)
	version, kind, n, xid := c.u8(), c.u8(), c.u16(), c.u32()
	if !c.short && (version == 0 || version > 6 || n < 8) || !d.enter("openflow") || d.ended(c) {
		return
	}
	d.field("length", "%d", n)
	d.say("v%d %s, xid %d", version, pick(openflowNames, int(kind)), xid)
}
