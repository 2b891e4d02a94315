package decode

import "fmt"

var (
	tlsRecords    = []string{20: "change-cipher-spec", 21: "alert", 22: "handshake", 23: "application-data", 24: "heartbeat"}
	tlsHandshakes = []string{
		"hello-request", "client-hello", "server-hello", "hello-verify-request", "new-session-ticket", "end-of-early-data", 8: "encrypted-extensions",
		11: "certificate", 12: "server-key-exchange", 13: "certificate-request", 14: "server-hello-done", 15: "certificate-verify",
		16: "client-key-exchange", 20: "finished", 22: "certificate-status", 24: "key-update",
	}
	tlsAlerts = map[uint8]string{
		0: "close-notify", 10: "unexpected-message", 20: "bad-record-mac", 22: "record-overflow", 40: "handshake-failure", 42: "bad-certificate",
		43: "unsupported-certificate", 44: "certificate-revoked", 45: "certificate-expired", 46: "certificate-unknown", 47: "illegal-parameter",
		48: "unknown-ca", 49: "access-denied", 50: "decode-error", 51: "decrypt-error", 70: "protocol-version", 71: "insufficient-security",
		80: "internal-error", 86: "inappropriate-fallback", 90: "user-canceled", 109: "missing-extension", 110: "unsupported-extension",
		112: "unrecognized-name", 116: "certificate-required", 120: "no-application-protocol",
	}
)

func tlsVersion(v uint16) string {
	switch v {
	case 0x0300:
		return "SSL 3.0"
	case 0x0301, 0x0302, 0x0303, 0x0304:
		return "TLS 1." + number(int(v-0x0301))
	case 0xfeff:
		return "DTLS 1.0"
	case 0xfefd:
		return "DTLS 1.2"
	case 0xfefc:
		return "DTLS 1.3"
	}
	return fmt.Sprintf("0x%04x", v)
}

// isTLS says whether a payload begins as a record does.
func isTLS(b []byte) bool {
	return len(b) >= 3 && b[0] >= 20 && b[0] <= 24 && b[1] == 3 && b[2] <= 4
}

func isDTLS(b []byte) bool {
	return len(b) >= 3 && b[0] >= 20 && b[0] <= 25 && b[1] == 0xfe && b[2] >= 0xfc
}

// tls is the first record of a segment.
func (d *Decoder) tls(x data) {
	if !d.enter("tls") {
		return
	}
	c := read(x)
	kind, version, n := c.u8(), c.u16(), int(c.u16())
	if d.ended(c) {
		return
	}
	d.tlsRecord(kind, version, c.limit(n), 4)
}

func (d *Decoder) dtls(x data) {
	if !d.enter("dtls") {
		return
	}
	c := read(x)
	kind, version, epoch, seq, n := c.u8(), c.u16(), c.u16(), c.take(6), int(c.u16())
	if d.ended(c) {
		return
	}
	d.field("epoch", "%d", epoch)
	d.field("sequence", "0x%s", hexBytes(seq))
	if epoch > 0 && kind == 22 {
		d.tlsRecord(23, version, c.limit(n), 12)
		return
	}
	d.tlsRecord(kind, version, c.limit(n), 12)
}

// tlsRecord is the content of a record; header is how long that of a message of
// a handshake is.
func (d *Decoder) tlsRecord(kind uint8, version uint16, x data, header int) {
	f := &d.frame
	f.TLS = &f.room.tls
	*f.TLS = TLS{Record: pick(tlsRecords, int(kind)), Version: tlsVersion(version), ALPN: f.TLS.ALPN[:0]}
	d.field("record", "%s", f.TLS.Record)
	d.field("version", "%s", f.TLS.Version)
	d.field("length", "%d", x.n)
	switch {
	case kind == 22 && len(x.b) >= header && int(x.b[1])<<16|int(x.b[2])<<8|int(x.b[3]) <= 1<<17:
		d.handshake(x.b[0], x, header)
	case kind == 22: // one that is encrypted looks like any
		d.say("handshake, length %d", x.n)
	case kind == 21 && x.n == 2 && len(x.b) == 2:
		name, ok := tlsAlerts[x.b[1]]
		if !ok {
			name = number(int(x.b[1]))
		}
		d.say("alert %s %s", pick([]string{1: "warning", 2: "fatal"}, int(x.b[0])), name)
	default:
		d.say("%s, length %d", f.TLS.Record, x.n)
	}
}

func (d *Decoder) handshake(kind uint8, x data, header int) {
	t := d.frame.TLS
	t.Handshake = pick(tlsHandshakes, int(kind))
	if t.Handshake == number(int(kind)) {
		t.Handshake = "handshake"
	}
	d.field("message", "%s", t.Handshake)
	c := read(x.from(header))
	switch kind {
	case 1:
		d.clientHello(c, header > 4)
	case 2:
		d.serverHello(c)
	}
	d.say("%s %s", t.Version, t.Handshake)
	if t.ServerName != "" {
		d.say("server name %s", t.ServerName)
	}
	for i, p := range t.ALPN {
		if i == 0 {
			d.say("alpn %s", p)
		} else {
			d.more(" %s", p)
		}
	}
}

// clientHello reads a hello as far as it is there: a long one goes on in the
// next segment.
func (d *Decoder) clientHello(c *cursor, datagram bool) {
	t := d.frame.TLS
	version := c.u16()
	c.take(32)
	c.take(int(c.u8()))
	if datagram {
		c.take(int(c.u8())) // the cookie
	}
	suites := c.take(int(c.u16()))
	c.take(int(c.u8()))
	if c.short {
		return
	}
	t.Version = tlsVersion(version)
	d.field("hello version", "%s", t.Version)
	d.field("cipher suites", "%d", len(suites)/2)
	d.tlsExtensions(c, func(kind uint16, e *cursor) {
		switch kind {
		case 0:
			d.serverName(e)
		case 16:
			d.alpn(e)
		case 43:
			d.highest(e)
		}
	})
}

// highest is the best version that a client offers, but for those that are
// there to try the server.
func (d *Decoder) highest(e *cursor) {
	n := int(e.u8())
	var best uint16
	for i := 0; i < n/2 && e.left(2); i++ {
		if v := e.u16(); v&0x0f0f != 0x0a0a && v>>8 == 3 && v > best {
			best = v
		}
	}
	if best != 0 {
		d.frame.TLS.Version = tlsVersion(best)
	}
}

func (d *Decoder) serverHello(c *cursor) {
	version := c.u16()
	c.take(32)
	c.take(int(c.u8()))
	suite := c.u16()
	c.u8()
	if c.short {
		return
	}
	t := d.frame.TLS
	t.Version = tlsVersion(version)
	d.field("cipher suite", "0x%04x", suite)
	d.tlsExtensions(c, func(kind uint16, e *cursor) {
		switch kind {
		case 16:
			d.alpn(e)
		case 43:
			if v := e.u16(); !e.short {
				t.Version = tlsVersion(v)
			}
		}
	})
}

func (d *Decoder) tlsExtensions(c *cursor, each func(uint16, *cursor)) {
	c.data = c.limit(int(c.u16()))
	for range 2 * maxItems {
		if c.n == 0 || c.short {
			return
		}
		kind, n := c.u16(), int(c.u16())
		if c.short {
			return
		}
		each(kind, c.sub(n))
	}
}

func (d *Decoder) serverName(e *cursor) {
	e.u16()
	kind := e.u8()
	name := e.take(int(e.u16()))
	if e.short || kind != 0 {
		return
	}
	d.frame.TLS.ServerName = printable(name)
	d.field("server name", "%s", d.frame.TLS.ServerName)
}

func (d *Decoder) alpn(e *cursor) {
	t := d.frame.TLS
	e.u16()
	for len(e.b) > 0 && len(t.ALPN) < maxItems {
		b := e.take(int(e.u8()))
		if e.short {
			return
		}
		t.ALPN = append(t.ALPN, printable(b))
	}
}
