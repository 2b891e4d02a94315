package decode

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

const maxHello = 4096 // bytes of a hello that are put together

// A quicVersion has what its first packets are protected with: nothing secret,
// as it follows from what the packets say.
type quicVersion struct {
	name  string
	salt  string
	label string // before "key", "iv" and "hp"
	types [4]string
}

// quicVersions returns nil for one that is not known.
func quicVersions(v uint32) *quicVersion {
	first := [4]string{"initial", "0-rtt", "handshake", "retry"}
	switch {
	case v == 1:
		return &quicVersion{"v1", "\x38\x76\x2c\xf7\xf5\x59\x34\xb3\x4d\x17\x9a\xe6\xa4\xc8\x0c\xad\xcc\xbb\x7f\x0a", "quic ", first}
	case v == 0x6b3343cf:
		return &quicVersion{
			"v2", "\x0d\xed\xe3\xde\xf7\x00\xa6\xdb\x81\x93\x81\xbe\x6e\x26\x9d\xcb\xf9\xbd\x2e\xd9", "quicv2 ",
			[4]string{"retry", "initial", "0-rtt", "handshake"},
		}
	case v >= 0xff00001d && v <= 0xff000022:
		salt := "\xaf\xbf\xec\x28\x99\x93\xd2\x4c\x9e\x97\x86\xf1\x9c\x61\x11\xe0\x43\x90\xa8\x99"
		if v > 0xff000020 {
			salt = "\x38\x76\x2c\xf7\xf5\x59\x34\xb3\x4d\x17\x9a\xe6\xa4\xc8\x0c\xad\xcc\xbb\x7f\x0a"
		}
		return &quicVersion{fmt.Sprintf("draft-%d", v&0xff), salt, "quic ", first}
	}
	return nil
}

// isQUIC says whether a datagram begins with a long header of a known version.
func isQUIC(x data) bool {
	b := x.b
	return len(b) >= 7 && b[0]&0xc0 == 0xc0 && quicVersions(binary.BigEndian.Uint32(b[1:])) != nil
}

// https is QUIC, of which later packets hide everything; what gives itself away
// as something else is that.
func https(s *sink, x data) {
	switch {
	case isGQUIC(x):
		gquic(s, x)
	case isDNS(x):
		dnsMessage(s, "dns", x)
	default:
		quic(s, x)
	}
}

func quic(s *sink, x data) {
	if !s.enter("quic") {
		return
	}
	c := read(x)
	first := c.u8()
	if s.ended(c) {
		return
	}
	if first&0x80 == 0 {
		s.say("protected payload")
		return
	}
	v := c.u32()
	dcid := c.take(int(c.u8()))
	scid := c.take(int(c.u8()))
	if s.ended(c) {
		return
	}
	s.field("version", "0x%08x", v)
	s.field("destination id", "%s", identity(dcid))
	s.field("source id", "%s", identity(scid))
	version := quicVersions(v)
	switch {
	case v == 0:
		s.say("version negotiation, dcid %s, scid %s", identity(dcid), identity(scid))
		return
	case version == nil:
		s.say("version 0x%08x, dcid %s, scid %s", v, identity(dcid), identity(scid))
		return
	}
	kind := version.types[first>>4&3]
	s.field("type", "%s", kind)
	s.say("%s %s, dcid %s, scid %s", version.name, kind, identity(dcid), identity(scid))
	if kind != "initial" {
		return
	}
	if hello := version.hello(x.b, dcid, c); hello != nil {
		quicHello(s, hello)
	}
}

// identity is a connection's, which may be empty.
func identity(b []byte) string {
	if len(b) == 0 {
		return "none"
	}
	return hexBytes(b)
}

// quicHello reads the client's hello, as far as the first packet has it.
func quicHello(s *sink, b []byte) {
	if len(b) < 4 || b[0] != 1 {
		return
	}
	f := s.frame
	f.TLS = &s.room.tls
	*f.TLS = TLS{Record: "handshake", ALPN: f.TLS.ALPN[:0]}
	tlsHandshake(s, 1, data{b, len(b)}, 4)
}

// hello returns what of the hello is in an initial packet of a client, or nil.
// c is behind the identities.
func (v *quicVersion) hello(packet, dcid []byte, c *cursor) []byte {
	c.take(int(varint(c))) // the token
	n := varint(c)
	if c.short || n < 20 || n > uint64(len(c.b)) || len(dcid) > 20 {
		return nil
	}
	at := len(packet) - len(c.b)
	p := v.open(packet[:at+int(n)], at, dcid)
	if p == nil {
		return nil
	}
	return cryptoFrames(p)
}

// open removes the protection of a packet, whose number is at an offset.
func (v *quicVersion) open(packet []byte, at int, dcid []byte) []byte {
	secret, err := hkdf.Extract(sha256.New, dcid, []byte(v.salt))
	if err != nil {
		return nil
	}
	secret = expand(secret, "client in", 32)
	key, iv, hp := expand(secret, v.label+"key", 16), expand(secret, v.label+"iv", 12), expand(secret, v.label+"hp", 16)
	mask, err := aes.NewCipher(hp)
	if err != nil {
		return nil
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil
	}
	var m [16]byte
	mask.Encrypt(m[:], packet[at+4:at+20])
	n := int((packet[0]^m[0])&3) + 1
	head := append([]byte(nil), packet[:at+n]...)
	head[0] ^= m[0] & 15
	for i := range n {
		head[at+i] ^= m[1+i]
		iv[12-n+i] ^= head[at+i]
	}
	p, err := aead.Open(nil, iv, packet[at+n:], head)
	if err != nil {
		return nil
	}
	return p
}

// expand is HKDF-Expand-Label of TLS 1.3 with no context. Its lengths are such
// that it can't fail.
func expand(secret []byte, label string, n int) []byte {
	label = "tls13 " + label
	info := append([]byte{0, byte(n), byte(len(label))}, label...)
	out, err := hkdf.Expand(sha256.New, secret, string(append(info, 0)), n)
	if err != nil {
		panic(err)
	}
	return out
}

// cryptoFrames puts the parts of a stream together, from its start to the first
// hole: clients mix them on purpose.
func cryptoFrames(p []byte) []byte {
	hello := make([]byte, maxHello)
	var have [maxHello]bool
	c := read(data{p, len(p)})
	for len(c.b) > 0 && !c.short {
		switch kind := varint(c); kind {
		case 0, 1: // padding, ping
		case 6:
			at, n := varint(c), varint(c)
			b := c.take(int(min(n, maxHello+1)))
			if c.short || at > maxHello || n > maxHello {
				continue
			}
			for i := range b[:min(len(b), maxHello-int(at))] {
				hello[int(at)+i], have[int(at)+i] = b[i], true
			}
		default:
			c.short = true
		}
	}
	for i := range have {
		if !have[i] {
			return hello[:i]
		}
	}
	return hello
}

// varint reads an integer of QUIC: its first two bits say how long it is.
func varint(c *cursor) uint64 {
	first := c.u8()
	v := uint64(first & 63)
	for range 1<<(first>>6) - 1 {
		v = v<<8 | uint64(c.u8())
	}
	return v
}
