package decode

import (
	"fmt"
	"strings"
)

func (d *Decoder) udp(x data) {
	if !d.enter("udp") {
		return
	}
	f := &d.frame
	c := read(x)
	src, dst := c.u16(), c.u16()
	if d.ended(c) {
		return
	}
	d.ports(src, dst)
	n, check := c.u16(), c.u16()
	if d.ended(c) {
		return
	}
	f.UDP = &f.room.udp
	*f.UDP = UDP{Length: int(n)}
	d.field("length", "%d", n)
	if !d.udpLength(&x, int(n)) {
		return
	}
	switch {
	case check == 0:
		f.UDP.Checksum = ChecksumNone
	case int(n) > x.n:
		f.UDP.Checksum = ChecksumUnknown
	default:
		f.UDP.Checksum = d.checksum(x, 17, check)
	}
	d.field("checksum", "0x%04x (%s)", check, f.UDP.Checksum)
	before := d.tunnels
	payload := x.from(8)
	d.udpPayload(payload)
	length := fmt.Sprintf("length %d", payload.n)
	if d.tunnels == before && !strings.HasSuffix(string(d.info), length) {
		d.say("%s", length)
	}
}

// udpLength cuts the datagram to its length, and says whether that can be.
func (d *Decoder) udpLength(x *data, n int) bool {
	switch {
	case n == 0 && x.n > 0xffff: // a jumbogram
	case n < 8:
		d.bad("udp length %d", n)
		return false
	case n > x.n && !d.pseudo.fragment:
		d.bad("udp length %d, only %d there", n, x.n)
	default:
		*x = x.limit(n)
	}
	return true
}
