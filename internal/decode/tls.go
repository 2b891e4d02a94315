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
func isTLS(x data) bool {
	b := x.b
	return len(b) >= 3 && b[0] >= 20 && b[0] <= 24 && b[1] == 3 && b[2] <= 4
}

func isDTLS(x data) bool {
	b := x.b
	return len(b) >= 3 && b[0] >= 20 && b[0] <= 25 && b[1] == 0xfe && b[2] >= 0xfc
}

func notDTLS(x data) bool { return !isDTLS(x) }

// tls is the first record of a segment.
func tls(s *sink, x data) {
	if !s.enter("tls") {
		return
	}
	c := read(x)
	kind, version, n := c.u8(), c.u16(), int(c.u16())
	if s.ended(c) {
		return
	}
	tlsRecord(s, kind, version, c.limit(n), 4)
}

func dtls(s *sink, x data) {
	if !s.enter("dtls") {
		return
	}
	c := read(x)
	kind, version, epoch, seq, n := c.u8(), c.u16(), c.u16(), c.take(6), int(c.u16())
	if s.ended(c) {
		return
	}
	s.field("epoch", "%d", epoch)
	s.field("sequence", "0x%s", hexBytes(seq))
	if epoch > 0 && kind == 22 {
		tlsRecord(s, 23, version, c.limit(n), 12)
		return
	}
	tlsRecord(s, kind, version, c.limit(n), 12)
}

// tlsRecord is the content of a record; header is how long that of a message of
// a handshake is.
func tlsRecord(s *sink, kind uint8, version uint16, x data, header int) {
	f := s.frame
	f.TLS = &s.room.tls
	*f.TLS = TLS{Record: pick(tlsRecords, int(kind)), Version: tlsVersion(version), ALPN: f.TLS.ALPN[:0]}
	if s.verbose {
		s.field("record", "%s", f.TLS.Record)
		s.field("version", "%s", f.TLS.Version)
		s.field("length", "%d", x.n)
	}
	switch {
	case kind == 22 && len(x.b) >= header && int(x.b[1])<<16|int(x.b[2])<<8|int(x.b[3]) <= 1<<17:
		tlsHandshake(s, x.b[0], x, header)
	case kind == 22: // one that is encrypted looks like any
		s.say("handshake, length %d", x.n)
	case kind == 21 && x.n == 2 && len(x.b) == 2:
		name, ok := tlsAlerts[x.b[1]]
		if !ok {
			name = number(int(x.b[1]))
		}
		s.say("alert %s %s", pick([]string{1: "warning", 2: "fatal"}, int(x.b[0])), name)
	default:
		s.say("%s, length %d", f.TLS.Record, x.n)
	}
}

func tlsHandshake(s *sink, kind uint8, x data, header int) {
	t := s.frame.TLS
	t.Handshake = pick(tlsHandshakes, int(kind))
	if t.Handshake == number(int(kind)) {
		t.Handshake = "handshake"
	}
	s.field("message", "%s", t.Handshake)
	c := read(x.from(header))
	switch kind {
	case 1:
		tlsClientHello(s, c, header > 4)
	case 2:
		tlsServerHello(s, c)
	}
	s.say("%s %s", t.Version, t.Handshake)
	if t.ServerName != "" {
		s.sayText("server name ", t.ServerName)
	}
	for i, p := range t.ALPN {
		if i == 0 {
			s.sayText("alpn ", p)
		} else {
			s.more(" %s", p)
		}
	}
}

// clientHello reads a hello as far as it is there: a long one goes on in the
// next segment.
func tlsClientHello(s *sink, c *cursor, datagram bool) {
	t := s.frame.TLS
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
	s.field("hello version", "%s", t.Version)
	s.field("cipher suites", "%d", len(suites)/2)
	tlsExtensions(s, c, func(kind uint16, e *cursor) {
		switch kind {
		case 0:
			tlsServerName(s, e)
		case 16:
			tlsALPN(s, e)
		case 43:
			tlsHighest(s, e)
		}
	})
}

// highest is the best version that a client offers, but for those that are
// there to try the server.
func tlsHighest(s *sink, e *cursor) {
	n := int(e.u8())
	var best uint16
	for i := 0; i < n/2 && e.left(2); i++ {
		if v := e.u16(); v&0x0f0f != 0x0a0a && v>>8 == 3 && v > best {
			best = v
		}
	}
	if best != 0 {
		s.frame.TLS.Version = tlsVersion(best)
	}
}

func tlsServerHello(s *sink, c *cursor) {
	version := c.u16()
	c.take(32)
	c.take(int(c.u8()))
	suite := c.u16()
	c.u8()
	if c.short {
		return
	}
	t := s.frame.TLS
	t.Version = tlsVersion(version)
	s.field("cipher suite", "0x%04x", suite)
	tlsExtensions(s, c, func(kind uint16, e *cursor) {
		switch kind {
		case 16:
			tlsALPN(s, e)
		case 43:
			if v := e.u16(); !e.short {
				t.Version = tlsVersion(v)
			}
		}
	})
}

func tlsExtensions(s *sink, c *cursor, each func(uint16, *cursor)) {
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

func tlsServerName(s *sink, e *cursor) {
	e.u16()
	kind := e.u8()
	name := e.take(int(e.u16()))
	if e.short || kind != 0 {
		return
	}
	s.frame.TLS.ServerName = printable(name)
	s.field("server name", "%s", s.frame.TLS.ServerName)
}

func tlsALPN(s *sink, e *cursor) {
	t := s.frame.TLS
	e.u16()
	for len(e.b) > 0 && len(t.ALPN) < maxItems {
		b := e.take(int(e.u8()))
		if e.short {
			return
		}
		t.ALPN = append(t.ALPN, printable(b))
	}
}
