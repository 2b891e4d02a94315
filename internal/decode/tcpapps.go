package decode

import "encoding/binary"

var smbCommands = []string{
	"negotiate", "session-setup", "logoff", "tree-connect", "tree-disconnect", "create", "close", "flush", "read", "write", "lock",
	"ioctl", "cancel", "echo", "query-directory", "change-notify", "query-info", "set-info", "oplock-break",
}

func isSSH(x data) bool { return len(x.b) > 4 && string(x.b[:4]) == "SSH-" }

func isSMB(x data) bool {
	return len(x.b) >= 8 && (string(x.b[4:8]) == "\xfeSMB" || string(x.b[4:8]) == "\xffSMB")
}

// smb is SMB in NetBIOS's frame; version 2 has little-endian numbers.
func smb(s *sink, x data) {
	if !s.enter("smb") {
		return
	}
	c := read(x.from(4))
	first := c.u8()
	c.take(3)
	if first == 0xff {
		command := c.u8()
		if !s.ended(c) {
			s.say("v1, command 0x%02x", command)
		}
		return
	}
	c.take(8)
	command := c.take(2)
	c.u16()
	flags := c.take(4)
	if s.ended(c) {
		return
	}
	what := "request"
	if flags[0]&1 != 0 {
		what = "response"
	}
	s.say("v2 %s %s", pick(smbCommands, int(binary.LittleEndian.Uint16(command))), what)
}

var cotpNames = []string{6: "credit", 8: "disconnect request", 12: "disconnect confirm", 13: "connect confirm", 14: "connect request", 15: "data"}

// tpkt returns a protocol on top of ISO's transport.
func tpkt(name string) protocol {
	return func(s *sink, x data) { tpktMessage(s, name, x) }
}

func tpktMessage(s *sink, name string, x data) {
	c := read(x)
	version, _, n, header, kind := c.u8(), c.u8(), c.u16(), c.u8(), c.u8()
	if version != 3 && len(x.b) > 0 {
		return // a message's later segment
	}
	if !s.enter(name) || s.ended(c) {
		return
	}
	s.field("length", "%d", n)
	s.field("header length", "%d", header)
	s.sayText(pick(cotpNames, int(kind>>4)))
}

var modbusFunctions = []string{
	1: "read coils", 2: "read discrete inputs", 3: "read holding registers", 4: "read input registers", 5: "write coil", 6: "write register",
	7: "read exception status", 8: "diagnostics", 15: "write coils", 16: "write registers", 22: "mask write register", 23: "read/write registers", 43: "device identification",
}

func modbus(s *sink, x data) {
	c := read(x)
	id, proto, n, unit, function := c.u16(), c.u16(), c.u16(), c.u8(), c.u8()
	if proto != 0 {
		return
	}
	if !s.enter("modbus") || s.ended(c) {
		return
	}
	s.field("length", "%d", n)
	s.say("id %d, unit %d, %s", id, unit, pick(modbusFunctions, int(function&0x7f)))
	if function&0x80 != 0 {
		s.say("exception %d", c.u8())
	}
}

var ldpNames = map[uint16]string{
	0x001: "notification", 0x100: "hello", 0x200: "initialization", 0x201: "keepalive", 0x300: "address", 0x301: "address withdraw",
	0x400: "label mapping", 0x401: "label request", 0x402: "label withdraw", 0x403: "label release", 0x404: "label abort",
}

func ldp(s *sink, x data) {
	c := read(x)
	version, n, router, space := c.u16(), c.u16(), c.ip4(), c.u16()
	if version != 1 && len(x.b) > 1 {
		return
	}
	if !s.enter("ldp") || s.ended(c) {
		return
	}
	s.field("length", "%d", n)
	s.say("router %s:%d", router, space)
	kind := c.u16() & 0x7fff
	if name, ok := ldpNames[kind]; ok && !c.short {
		s.sayText(name)
	}
}

var pptpNames = []string{
	1: "start request", 2: "start reply", 3: "stop request", 4: "stop reply", 5: "echo request", 6: "echo reply", 7: "call request",
	8: "call reply", 9: "incoming request", 10: "incoming reply", 11: "incoming connected", 12: "call clear", 13: "call disconnect", 14: "error", 15: "set link",
}

func pptpControl(s *sink, x data) {
	c := read(x)
	n, kind, cookie, message := c.u16(), c.u16(), c.u32(), c.u16()
	if len(x.b) >= 8 && cookie != 0x1a2b3c4d {
		return
	}
	if !s.enter("pptp") || s.ended(c) {
		return
	}
	s.field("length", "%d", n)
	s.field("type", "%d", kind)
	s.sayText(pick(pptpNames, int(message)))
}

var mqttTypes = []string{
	1: "connect", 2: "connack", 3: "publish", 4: "puback", 5: "pubrec", 6: "pubrel", 7: "pubcomp", 8: "subscribe", 9: "suback",
	10: "unsubscribe", 11: "unsuback", 12: "pingreq", 13: "pingresp", 14: "disconnect", 15: "auth",
}

func mqtt(s *sink, x data) {
	c := read(x)
	first := c.u8()
	if !c.short && first>>4 == 0 || !s.enter("mqtt") {
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
	if s.ended(c) {
		return
	}
	s.field("flags", "0x%x", first&15)
	s.field("length", "%d", n)
	s.sayText(pick(mqttTypes, int(first>>4)))
	if first>>4 == 1 || first>>4 == 3 {
		b := c.take(int(c.u16()))
		if !c.short {
			s.more(" %s", printable(b))
		}
	}
}

var iscsiNames = map[uint8]string{
	0: "nop-out", 1: "command", 2: "task request", 3: "login request", 4: "text request", 5: "data-out", 6: "logout request",
	0x20: "nop-in", 0x21: "response", 0x22: "task response", 0x23: "login response", 0x24: "text response", 0x25: "data-in",
	0x26: "logout response", 0x31: "r2t", 0x32: "async", 0x3f: "reject",
}

func iscsi(s *sink, x data) {
	c := read(x)
	name, ok := iscsiNames[c.u8()&0x3f]
	if !c.short && !ok || !s.enter("iscsi") || s.ended(c) {
		return
	}
	s.sayText(name)
}

// mysql shows a server's greeting and a client's query.
func mysql(s *sink, x data) {
	c := read(x)
	size, seq, first := c.take(3), c.u8(), c.u8()
	if !c.short && (size[2] > 15 || string(size) == "\x00\x00\x00") || !s.enter("mysql") || s.ended(c) {
		return
	}
	s.field("length", "%d", int(size[2])<<16|int(size[1])<<8|int(size[0]))
	s.field("sequence", "%d", seq)
	switch {
	case seq == 0 && first == 10 && s.frame.SrcPort == 3306:
		s.sayText("greeting ", printable(cString(c.b)))
	case seq == 0 && first == 3:
		s.sayText("query ", printable(firstLine(c.b)))
	default:
		s.say("packet %d, 0x%02x", seq, first)
	}
}

func postgres(s *sink, x data) {
	c := read(x)
	kind := c.u8()
	if kind != 0 && (kind < '1' || kind > 'z') || !s.enter("postgresql") || s.ended(c) {
		return
	}
	switch {
	case kind == 0:
		c.take(3)
		if v := c.u32(); !s.ended(c) {
			s.say("start 0x%08x", v)
		}
	case kind == 'Q':
		c.u32()
		s.sayText("query ", printable(cString(firstLine(c.b))))
	default:
		s.sayText("message ", printable([]byte{kind}))
	}
}

var diameterNames = map[uint32]string{257: "capabilities exchange", 258: "re-auth", 272: "credit control", 274: "abort session", 275: "session termination", 280: "watchdog", 282: "disconnect peer"}

func diameter(s *sink, x data) {
	c := read(x)
	version, n, flags, code, app := c.u8(), c.u24(), c.u8(), c.u24(), c.u32()
	if version != 1 {
		return
	}
	if !s.enter("diameter") || s.ended(c) {
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
	s.field("length", "%d", n)
	s.say("%s %s, application %d", name, what, app)
}

var openflowNames = []string{0: "hello", 1: "error", 2: "echo request", 3: "echo reply", 4: "experimenter", 5: "features request", 6: "features reply", 10: "packet in", 13: "packet out", 14: "flow mod"}

func openflow(s *sink, x data) {
	c := read(x)
	version, kind, n, xid := c.u8(), c.u8(), c.u16(), c.u32()
	if !c.short && (version == 0 || version > 6 || n < 8) || !s.enter("openflow") || s.ended(c) {
		return
	}
	s.field("length", "%d", n)
	s.say("v%d %s, xid %d", version, pick(openflowNames, int(kind)), xid)
}
