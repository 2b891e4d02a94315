package decode

import "net/netip"

func (d *Decoder) arp(x data, name string) {
	if !d.enter(name) {
		return
	}
	c := read(x)
	hardware, proto, hlen, plen, op := c.u16(), c.u16(), c.u8(), c.u8(), c.u16()
	if d.ended(c) {
		return
	}
	d.field("hardware", "%d", hardware)
	d.field("protocol", "0x%04x", proto)
	d.field("hardware length", "%d", hlen)
	d.field("protocol length", "%d", plen)
	d.field("operation", "%d (%s)", op, pick(arpOps, int(op)))
	f := &d.frame
	f.ARP = &f.room.arp
	*f.ARP = ARP{Operation: op}
	if hlen != 6 || plen != 4 || proto != etherIPv4 {
		d.field("addresses", "0x%s", hexBytes(c.limit(2*int(hlen)+2*int(plen)).b))
		d.say("%s, hardware %d, protocol 0x%04x, length %d", pick(arpOps, int(op)), hardware, proto, x.n)
		return
	}
	a := f.ARP
	a.SenderMAC, f.Src, a.TargetMAC, f.Dst = c.mac(), c.ip4(), c.mac(), c.ip4()
	if c.short {
		f.Src, f.Dst = netip.Addr{}, netip.Addr{}
	}
	if d.ended(c) {
		return
	}
	d.field("sender", "%s (%s)", f.Src, a.SenderMAC)
	d.field("target", "%s (%s)", f.Dst, a.TargetMAC)
	d.arpWords(op)
	d.say("length %d", x.n)
}

func (d *Decoder) arpWords(op uint16) {
	f := &d.frame
	a := f.ARP
	switch {
	case op == 1 && f.Src == f.Dst:
		d.say("announcement %s is-at %s", f.Src, a.SenderMAC)
	case op == 1 && f.Src.IsUnspecified():
		d.say("probe who-has %s", f.Dst)
	case op == 1:
		d.say("who-has %s tell %s", f.Dst, f.Src)
	case op == 2:
		d.say("reply %s is-at %s", f.Src, a.SenderMAC)
	case op == 3 || op == 8:
		d.say("who-is %s tell %s", a.TargetMAC, a.SenderMAC)
	case op == 4 || op == 9:
		d.say("%s at %s", a.TargetMAC, f.Dst)
	default:
		d.say("%s %s", pick(arpOps, int(op)), f.Src)
	}
}
