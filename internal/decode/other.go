package decode

// etherOther is an Ethernet type that is only named.
func (d *Decoder) etherOther(t uint16, x data) {
	d.enter(etherName(t))
	d.say("length %d", x.n)
}

// ipOther is a protocol of IP that is only named.
func (d *Decoder) ipOther(proto uint8, x data) {
	d.enter(protoName(proto))
	d.say("length %d", x.n)
}

func (d *Decoder) udpPayload(x data) { d.say("length %d", x.n) }

func (d *Decoder) tcpPayload(data) {}

func (d *Decoder) llc(x data) {
	d.enter("llc")
	d.say("length %d", x.n)
}

func (d *Decoder) mpls(x data)          { d.etherOther(0x8847, x) }
func (d *Decoder) pppoe(x data, _ bool) { d.etherOther(0x8864, x) }
func (d *Decoder) ppp(x data)           { d.ip(x.from(4)) }
func (d *Decoder) wireless(x data)      { d.say("length %d", x.n) }
