package decode

import "encoding/binary"

func routingSamples(add func(string, raw)) {
	ospf := func(version, kind int, body raw) raw {
		h := cat(raw{byte(version), byte(kind)}, be16(24+len(body)), addrA, zeros(4), be16(0, 0), zeros(8))
		if version == 3 {
			h = cat(raw{3, byte(kind)}, be16(16+len(body)), addrA, zeros(4), be16(0), zeros(2))
			return cat(h, body)
		}
		h = append(h, body...)
		copy(h[12:], slowSum(h[:16], h[24:]))
		return h
	}
	hello := cat(raw{255, 255, 255, 0}, be16(10), raw{2, 1}, be32(40), addrA, zeros(4), raw{10, 9, 9, 9})
	add("ospf hello", eth(0x0800, ip4(89, ospf(2, 1, hello))))
	add("ospf update", eth(0x0800, ip4(89, ospf(2, 4, be32(0)))))
	add("ospf v3 hello", eth(0x86dd, ip6(89, ospf(3, 1, cat(be32(5, 0x01000013), be16(10, 40), addrA, zeros(4))))))
	vrrp := cat(raw{0x21, 5, 100, 1, 0, 1, 0, 0}, addrB, zeros(8))
	copy(vrrp[6:], slowSum(vrrp))
	add("vrrp v2", eth(0x0800, ip4(112, vrrp)))
	three := cat(raw{0x31, 5, 100, 1}, be16(100, 0), addrB6)
	copy(three[6:], slowSum(pseudo6(addrB6, 112, len(three)), three))
	add("vrrp v3 over ipv6", eth(0x86dd, ip6(112, three)))
	add("carp", eth(0x0800, ip4(112, cat(raw{0x21, 5, 0, 7, 0, 1, 0, 0}, zeros(28)))))
	add("pim hello", eth(0x0800, ip4(103, cat(raw{0x20, 0}, slowSum(raw{0x20, 0, 0, 0, 0, 1, 0, 2, 0, 105}), be16(1, 2, 105)))))
	add("eigrp hello", eth(0x0800, ip4(88, cat(raw{2, 5}, be16(0), be32(0, 0, 0), be16(0, 100)))))
	add("rsvp path", eth(0x0800, ip4(46, cat(raw{0x10, 1, 0, 0, 64, 0}, be16(8)))))
	add("igmp query", eth(0x0800, ip4With(2, 0, nil, igmpBytes(0x11, 100, zeros(4)))))
	add("igmp query v1", eth(0x0800, ip4With(2, 0, nil, igmpBytes(0x11, 0, zeros(4)))))
	add("igmp report v2", eth(0x0800, ip4With(2, 0, nil, igmpBytes(0x16, 0, raw{239, 1, 1, 1}))))
	add("igmp leave", eth(0x0800, ip4With(2, 0, nil, igmpBytes(0x17, 0, raw{239, 1, 1, 1}))))
	add("igmp report v3", eth(0x0800, ip4With(2, 0, nil, igmpBytes(0x22, 0, cat(be16(0, 1), raw{4, 0, 0, 0}, raw{239, 1, 1, 1})))))
	add("hsrp", eth(0x0800, udp4(1985, 1985, cat(raw{0, 0, 16, 3, 10, 110, 1, 0}, str("cisco\x00\x00\x00"), addrB))))
	add("rip", eth(0x0800, udp4(520, 520, cat(raw{2, 2, 0, 0}, be16(2, 0), raw{10, 0, 0, 0, 255, 0, 0, 0, 0, 0, 0, 0}, be32(3)))))
	add("ripng", eth(0x86dd, udp6(521, 521, cat(raw{2, 1, 0, 0}, addrA6, be16(0), raw{64, 1}))))
	bgp := cat(raw("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), be16(29), raw{1, 4}, be16(65001, 180), addrA, raw{0})
	add("bgp open", eth(0x0800, tcp4(40000, 179, 0x18, nil, bgp)))
	add("bgp keepalives", eth(0x0800, tcp4(40000, 179, 0x18, nil, cat(bgp[:16], be16(19), raw{4}, bgp[:16], be16(19), raw{4}))))
	add("bgp across segments", eth(0x0800, tcp4(40000, 179, 0x18, nil, cat(bgp[:16], be16(19), raw{4}, bgp[:10]))))
	add("bfd", eth(0x0800, udp4(49152, 3784, cat(raw{0x20, 0xc0, 3, 24}, be32(1, 2, 50000, 50000, 0)))))
	add("ldp hello", eth(0x0800, udp4(646, 646, cat(be16(1, 30), addrA, be16(0, 0x100, 20), be32(1), be16(0x400, 4, 15, 0, 0x401, 4), addrA))))
}

// dnsName is a name as the wire has it.
func dnsName(labels ...string) raw {
	var b raw
	for _, l := range labels {
		b = append(append(b, byte(len(l))), l...)
	}
	return append(b, 0)
}

func dnsHeader(flags int, counts ...int) raw {
	return cat(be16(0x1267, flags), be16(counts...))
}

// dnsRecord is one about the name of the question.
func dnsRecord(t int, rdata raw) raw {
	return cat(raw{0xc0, 12}, be16(t, 1), be32(300), be16(len(rdata)), rdata)
}

func nameSamples(add func(string, raw)) {
	name := dnsName("www", "example", "com")
	ask := func(t int) raw { return cat(name, be16(t, 1)) }
	question := cat(dnsHeader(0x0100, 1, 0, 0, 0), ask(1))
	add("dns query", eth(0x0800, udp4(40000, 53, question)))
	add("dns query of the root", eth(0x0800, udp4(40000, 53, cat(dnsHeader(0x0100, 1, 0, 0, 0), raw{0}, be16(2, 1)))))
	opt := cat(raw{0}, be16(41, 1232), be32(0), be16(0))
	add("dns query with opt", eth(0x0800, udp4(40000, 53, cat(dnsHeader(0x0120, 1, 0, 0, 1), ask(28), opt))))
	cname := dnsRecord(5, cat(raw{5}, str("alias"), raw{0xc0, 16}))
	a := cat(raw{5}, str("alias"), raw{0xc0, 16}, be16(1, 1), be32(60), be16(4), addrB)
	add("dns answer", eth(0x0800, udp4(53, 40000, cat(dnsHeader(0x8180, 1, 2, 0, 0), ask(1), cname, a))))
	add("dns nxdomain", eth(0x0800, udp4(53, 40000, cat(dnsHeader(0x8183, 1, 0, 0, 0), ask(1)))))
	add("dns aaaa", eth(0x86dd, udp6(53, 40000, cat(dnsHeader(0x8180, 1, 1, 0, 0), ask(28), dnsRecord(28, addrB6)))))
	add("dns mx", eth(0x0800, udp4(53, 40000, cat(dnsHeader(0x8180, 1, 1, 0, 0), ask(15), dnsRecord(15, cat(be16(10), raw{2}, str("mx"), raw{0xc0, 16}))))))
	add("dns txt", eth(0x0800, udp4(53, 40000, cat(dnsHeader(0x8180, 1, 1, 0, 0), ask(16), dnsRecord(16, cat(raw{5}, str("v=one"), raw{3}, str("two")))))))
	add("dns srv", eth(0x0800, udp4(53, 40000, cat(dnsHeader(0x8180, 1, 1, 0, 0), ask(33), dnsRecord(33, cat(be16(1, 2, 5060), name))))))
	add("dns ns and soa", eth(0x0800, udp4(53, 40000, cat(dnsHeader(0x8580, 1, 2, 0, 0), ask(6), dnsRecord(2, name), dnsRecord(6, cat(name, name, be32(1, 2, 3, 4, 5)))))))
	add("dns https", eth(0x0800, udp4(53, 40000, cat(dnsHeader(0x8180, 1, 1, 0, 0), ask(65), dnsRecord(65, cat(be16(1), raw{0}, be16(1, 3), raw{2}, str("h2")))))))
	add("dns caa", eth(0x0800, udp4(53, 40000, cat(dnsHeader(0x8180, 1, 1, 0, 0), ask(257), dnsRecord(257, cat(raw{0, 5}, str("issue"), str("ca.example")))))))
	add("dns ptr", eth(0x0800, udp4(40000, 53, cat(dnsHeader(0x0100, 1, 0, 0, 0), dnsName("1", "2", "0", "192", "in-addr", "arpa"), be16(12, 1)))))
	add("dns over tcp", eth(0x0800, tcp4(40000, 53, 0x18, nil, cat(be16(len(question)), question))))
	add("mdns query", eth(0x0800, udp4(5353, 5353, cat(be16(0, 0), be16(1, 0, 0, 0), dnsName("_ipp", "_tcp", "local"), be16(12, 1)))))
	add("mdns answer", eth(0x0800, udp4(5353, 5353, cat(be16(0, 0x8400), be16(0, 1, 0, 0), dnsName("host", "local"), be16(1, 0x8001), be32(120), be16(4), addrA))))
	add("llmnr", eth(0x0800, udp4(40000, 5355, cat(be16(9, 0), be16(1, 0, 0, 0), dnsName("printer"), be16(1, 1)))))
	netbios := dnsName("EGFCEFEFCACACACACACACACACACACACA") // "FREE"
	add("nbns query", eth(0x0800, udp4(137, 137, cat(be16(9, 0x0110), be16(1, 0, 0, 0), netbios, be16(32, 1)))))
	add("nbdgm", eth(0x0800, udp4(138, 138, cat(raw{0x11, 2}, be16(9), addrA, be16(138, 82, 0), netbios, netbios, zeros(8)))))
}

func leaseSamples(add func(string, raw)) {
	boot := func(op int, yours raw, options ...raw) raw {
		h := cat(raw{byte(op), 1, 6, 0}, be32(0x11223344), be16(0, 0x8000), zeros(4), yours, zeros(8), macA[:], zeros(10), zeros(192), be32(0x63825363))
		return append(append(h, cat(options...)...), 255)
	}
	none := zeros(4)
	add("dhcp discover", eth(0x0800, udp4(68, 67, boot(1, none, raw{53, 1, 1}, cat(raw{12, 6}, str("laptop")), cat(raw{50, 4}, addrB), raw{55, 3, 1, 3, 6}))))
	add("dhcp offer", eth(0x0800, udp4(67, 68, boot(2, addrB, raw{53, 1, 2}, cat(raw{54, 4}, addrA), cat(raw{51, 4}, be32(3600)), raw{1, 4, 255, 255, 255, 0}, cat(raw{3, 4}, addrA), cat(raw{6, 8}, addrA, addrB)))))
	add("dhcp request", eth(0x0800, udp4(68, 67, boot(1, none, raw{53, 1, 3}))))
	add("dhcp ack", eth(0x0800, udp4(67, 68, boot(2, addrB, raw{53, 1, 5}))))
	add("dhcp nak", eth(0x0800, udp4(67, 68, boot(2, none, raw{53, 1, 6}))))
	add("bootp", eth(0x0800, udp4(68, 67, boot(1, none))))
	duid := cat(be16(1, 10), be16(3, 1), macA[:])
	iana := cat(be16(3, 12+28), be32(1, 0, 0), be16(5, 24), addrB6, be32(100, 200))
	pd := cat(be16(25, 12+29), be32(1, 0, 0), be16(26, 25), be32(100, 200), raw{56}, addrB6)
	add("dhcpv6 solicit", eth(0x86dd, udp6(546, 547, cat(raw{1, 0x12, 0x34, 0x56}, duid, be16(8, 2, 0)))))
	add("dhcpv6 reply", eth(0x86dd, udp6(547, 546, cat(raw{7, 0x12, 0x34, 0x56}, duid, iana, pd))))
	add("dhcpv6 relay", eth(0x86dd, udp6(547, 547, cat(raw{12, 1}, addrA6, linkA6, be16(9, 4), raw{1, 0x12, 0x34, 0x56}))))
	add("dhcpv6 fqdn", eth(0x86dd, udp6(546, 547, cat(raw{3, 0x12, 0x34, 0x56}, duid, be16(39, 8), raw{0, 6}, str("laptop")))))
}

func datagramSamples(add func(string, raw)) {
	ntp := cat(raw{0x23, 0, 6, 0xec}, zeros(36), be32(0xe0000000, 0x80000000))
	add("ntp client", eth(0x0800, udp4(40000, 123, ntp)))
	add("ntp server", eth(0x0800, udp4(123, 40000, cat(raw{0x24, 1, 6, 0xec}, be32(100, 200), str("GPS\x00"), ntp[40:], ntp[40:], ntp[40:], ntp[40:]))))
	add("ntp control", eth(0x0800, udp4(40000, 123, cat(raw{0x16, 2}, zeros(10)))))
	add("tftp read", eth(0x0800, udp4(40069, 69, cat(be16(1), str("boot.img\x00octet\x00")))))
	add("tftp error", eth(0x0800, udp4(69, 40069, cat(be16(5, 1), str("not found\x00")))))
	add("syslog", eth(0x0800, udp4(40000, 514, str("<13>Jan  2 03:04:05 host app: hello"))))
	add("ssdp search", eth(0x0800, udp4(40000, 1900, str("M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nST: ssdp:all\r\n\r\n"))))
	add("sip invite", eth(0x0800, udp4(5060, 5060, str("INVITE sip:bob@example.com SIP/2.0\r\nCSeq: 1 INVITE\r\n\r\n"))))
	add("radius", eth(0x0800, udp4(40000, 1812, cat(raw{1, 9}, be16(31), zeros(16), raw{1, 5}, str("bob"), raw{4, 6}, addrA))))
	add("coap get", eth(0x0800, udp4(40000, 5683, cat(raw{0x42, 1}, be16(77), raw{9, 9}))))
	add("coap content", eth(0x0800, udp4(5683, 40000, cat(raw{0x60, 0x45}, be16(77)))))
	add("wireguard initiation", eth(0x0800, udp4(51820, 51820, cat(raw{1, 0, 0, 0}, raw{9, 0, 0, 0}, zeros(140)))))
	add("wireguard data", eth(0x0800, udp4(51820, 51820, cat(raw{4, 0, 0, 0}, raw{9, 0, 0, 0}, raw{5, 0, 0, 0, 0, 0, 0, 0}, zeros(16)))))
	add("nat-pmp", eth(0x0800, udp4(40000, 5351, cat(raw{0, 2}, be16(0, 80, 8080), be32(3600)))))
	add("bacnet", eth(0x0800, udp4(47808, 47808, raw{0x81, 11, 0, 12, 1, 0x20, 0xff, 0xff, 0, 0xff, 0x10, 8})))
	add("stun", eth(0x0800, udp4(40000, 3478, cat(be16(1, 0), be32(0x2112a442), zeros(12)))))
	add("stun success", eth(0x0800, udp4(3478, 40000, cat(be16(0x0101, 0), be32(0x2112a442), zeros(12)))))
	add("isakmp", eth(0x0800, udp4(500, 500, cat(be32(1, 2), zeros(8), raw{33, 0x20, 34, 8}, be32(0, 28)))))
	add("isakmp through nat", eth(0x0800, udp4(4500, 4500, cat(be32(0), be32(1, 2), zeros(8), raw{33, 0x20, 34, 8}, be32(0, 28)))))
	add("esp through nat", eth(0x0800, udp4(4500, 4500, cat(be32(0x1234, 9), zeros(32)))))
	add("nat keepalive", eth(0x0800, udp4(4500, 4500, raw{0xff})))
	add("wake on lan", eth(0x0800, udp4(40000, 9, wake())))
	add("ptp over udp", eth(0x0800, udp4(319, 319, ptpBytes())))
	add("openvpn", eth(0x0800, udp4(40000, 1194, zeros(30))))
}

func wake() raw {
	b := raw("\xff\xff\xff\xff\xff\xff")
	for range 16 {
		b = append(b, macB[:]...)
	}
	return b
}

func ptpBytes() raw {
	return cat(raw{0, 2}, be16(44), raw{0, 0, 2, 0}, zeros(8), zeros(4), raw{1, 2, 3, 4, 5, 6, 7, 8}, be16(1, 99), raw{0, 0}, zeros(10))
}

// ber is an element of BER.
func ber(tag int, parts ...raw) raw {
	b := cat(parts...)
	return cat(raw{byte(tag), byte(len(b))}, b)
}

func managementSamples(add func(string, raw)) {
	object := ber(0x30, ber(6, raw{0x2b, 6, 1, 2, 1, 1, 1, 0}), ber(5))
	pdu := ber(0xa0, ber(2, raw{0x30, 0x39}), ber(2, raw{0}), ber(2, raw{0}), ber(0x30, object))
	add("snmp get", eth(0x0800, udp4(40000, 161, ber(0x30, ber(2, raw{1}), ber(4, str("public")), pdu))))
	add("snmp v3", eth(0x0800, udp4(40000, 161, ber(0x30, ber(2, raw{3}), ber(0x30, ber(2, raw{1}), ber(2, raw{5, 0xdc}), ber(4, raw{4}), ber(2, raw{3}))))))
	add("sflow", eth(0x0800, udp4(40000, 6343, cat(be32(5, 1), addrA, be32(0, 7, 1000, 0)))))
	add("netflow v5", eth(0x0800, udp4(40000, 2055, cat(be16(5, 1), be32(1000, 1, 2, 3), zeros(4), zeros(48)))))
	add("ipfix", eth(0x0800, udp4(40000, 4739, cat(be16(10, 16), be32(1000, 5, 1)))))
}

func streamSamples(add func(string, raw)) {
	to := func(port int, b raw) raw { return eth(0x0800, tcp4(40000, port, 0x18, nil, b)) }
	smb := cat(raw{0, 0, 0, 64}, str("\xfeSMB"), raw{64, 0, 0, 0, 0, 0, 0, 0, 3, 0, 1, 0, 0, 0, 0, 0}, zeros(44))
	add("smb2 tree connect", to(445, smb))
	add("smb1", to(445, cat(raw{0, 0, 0, 35}, str("\xffSMB"), raw{0x72}, zeros(30))))
	add("rdp connect", to(3389, raw{3, 0, 0, 19, 14, 0xe0, 0, 0, 0, 0, 0, 1, 0, 8, 0, 0, 0, 0, 0}))
	add("iso-tsap", to(102, raw{3, 0, 0, 7, 2, 0xf0, 0x80}))
	add("modbus", to(502, cat(be16(9, 0, 6), raw{1, 3}, be16(0, 10))))
	add("modbus exception", eth(0x0800, tcp4(502, 40000, 0x18, nil, cat(be16(9, 0, 3), raw{1, 0x83, 2}))))
	add("pptp control", to(1723, cat(be16(156, 1), be32(0x1a2b3c4d), be16(1, 0), zeros(144))))
	add("mqtt connect", to(1883, cat(raw{0x10, 16}, be16(4), str("MQTT"), raw{4, 2}, be16(60, 4), str("abcd"))))
	add("mqtt publish", to(1883, cat(raw{0x30, 7}, be16(3), str("a/bhi"))))
	add("iscsi login", to(3260, cat(raw{0x43, 0x87}, zeros(46))))
	add("mysql greeting", eth(0x0800, tcp4(3306, 40000, 0x18, nil, cat(raw{0x4a, 0, 0, 0, 10}, str("8.0.30\x00"), zeros(66)))))
	add("mysql query", to(3306, cat(raw{9, 0, 0, 0, 3}, str("select 1"))))
	add("postgresql start", to(5432, cat(be32(8, 196608))))
	add("postgresql query", to(5432, cat(str("Q"), be32(13), str("select 1\x00"))))
	add("diameter", to(3868, cat(raw{1, 0, 0, 20, 0x80, 0, 1, 1}, be32(0, 1, 2))))
	add("openflow hello", to(6653, cat(raw{4, 0}, be16(8), be32(1))))
	add("ldp over tcp", to(646, cat(be16(1, 14), addrA, be16(0, 0x201, 4), be32(1))))
}

func textSamples(add func(string, raw)) {
	for _, s := range []struct {
		port int
		line string
	}{
		{21, "220 ready"}, {25, "EHLO client.example"}, {43, "example.com"}, {79, "alice"}, {110, "USER alice"}, {119, "GROUP news"},
		{143, "a1 LOGIN alice"}, {554, "OPTIONS rtsp://host/ RTSP/1.0"}, {5060, "OPTIONS sip:a@example.com SIP/2.0"},
		{5222, "<?xml version='1.0'?>"}, {6379, "*1"}, {6667, "NICK alice"}, {11211, "get key"}, {22, "SSH-2.0-OpenSSH_9.2"},
	} {
		add("text at port "+number(s.port), eth(0x0800, tcp4(40000, s.port, 0x18, nil, str(s.line+"\r\n"))))
	}
	to := func(b string) raw { return eth(0x0800, tcp4(40000, 80, 0x18, nil, str(b))) }
	add("http get", to("GET /index.html?a=b HTTP/1.1\r\nUser-Agent: test\r\nHost: www.example.com\r\n\r\n"))
	add("http post", to("POST /form HTTP/1.1\r\nHost: example.com\r\nContent-Length: 3\r\n\r\na=b"))
	add("http connect", to("CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n"))
	add("http answer", eth(0x0800, tcp4(80, 40000, 0x18, nil, str("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"))))
	add("http 2", eth(0x0800, tcp4(40080, 80, 0x18, nil, str("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))))
}

func tlsExtension(kind int, body raw) raw { return cat(be16(kind, len(body)), body) }

func hello(name string, datagram bool) raw {
	server := cat(be16(len(name)+3), raw{0}, be16(len(name)), str(name))
	extensions := cat(tlsExtension(0x2a2a, nil), tlsExtension(0, server), tlsExtension(16, cat(be16(12), raw{2}, str("h2"), raw{8}, str("http/1.1"))))
	version := 0x0303
	cookie := raw{}
	if datagram {
		version, cookie = 0xfefd, raw{0}
	} else {
		extensions = cat(extensions, tlsExtension(43, cat(raw{4}, be16(0x0304, 0x0303))))
	}
	return cat(be16(version), zeros(32), raw{0}, cookie, be16(4, 0x1301, 0xc02f), raw{1, 0}, be16(len(extensions)), extensions)
}

func tlsRecordBytes(kind, version int, body raw) raw {
	return cat(raw{byte(kind)}, be16(version, len(body)), body)
}

func handshake(kind int, body raw) raw {
	return cat(raw{byte(kind)}, be32(len(body))[1:], body)
}

func tlsSamples(add func(string, raw)) {
	to := func(b raw) raw { return eth(0x0800, tcp4(40000, 443, 0x18, nil, b)) }
	client := handshake(1, hello("secret.example.org", false))
	add("tls client hello", to(tlsRecordBytes(22, 0x0301, client)))
	add("tls client hello at another port", eth(0x0800, tcp4(40000, 993, 0x18, nil, tlsRecordBytes(22, 0x0301, client))))
	long := tlsRecordBytes(22, 0x0301, client)
	add("tls hello in two segments", to(long[:len(long)-9]))
	server := cat(be16(0x0303), zeros(32), raw{0}, be16(0x1301), raw{0}, be16(6), tlsExtension(43, be16(0x0304)))
	add("tls server hello", eth(0x0800, tcp4(443, 40000, 0x18, nil, tlsRecordBytes(22, 0x0303, handshake(2, server)))))
	add("tls certificate", eth(0x0800, tcp4(443, 40000, 0x18, nil, tlsRecordBytes(22, 0x0303, handshake(11, zeros(30))))))
	add("tls alert", to(tlsRecordBytes(21, 0x0303, raw{2, 40})))
	add("tls data", to(tlsRecordBytes(23, 0x0303, zeros(40))))
	add("tls change cipher", to(tlsRecordBytes(20, 0x0303, raw{1})))
	body := hello("dtls.example.org", true)
	message := cat(raw{1}, be32(len(body))[1:], be16(0), zeros(3), be32(len(body))[1:], body)
	add("dtls client hello", eth(0x0800, udp4(40000, 4433, cat(raw{22}, be16(0xfefd, 0), zeros(6), be16(len(message)), message))))
	add("quic initial", eth(0x0800, udp4(40443, 443, quicInitial(1, client))))
	add("quic initial v2", eth(0x0800, udp4(40443, 443, quicInitial(0x6b3343cf, client))))
	add("quic handshake", eth(0x0800, udp4(443, 40443, cat(raw{0xe0}, be32(1), raw{4, 1, 2, 3, 4, 0}, raw{0x40, 0x20}, zeros(32)))))
	add("quic version negotiation", eth(0x0800, udp4(443, 40443, cat(raw{0x80}, be32(0), raw{4, 1, 2, 3, 4, 0}, be32(1)))))
	add("quic of another version", eth(0x0800, udp4(40443, 443, cat(raw{0xc0}, be32(0x1a2a3a4a), raw{4, 1, 2, 3, 4, 0}, zeros(1200)))))
	add("quic short header", eth(0x0800, udp4(40443, 443, cat(raw{0x40}, zeros(40)))))
}

func tunnelSamples(add func(string, raw)) {
	inner4, inner6 := udp4(40000, 53, cat(dnsHeader(0x0100, 1, 0, 0, 0), dnsName("inner", "example"), be16(1, 1))), udp6(40000, 40001, str("six"))
	frame := eth(0x0800, inner4)
	add("ipip", eth(0x0800, ip4(4, inner4)))
	add("6in4", eth(0x0800, ip4(41, inner6)))
	add("4in6", eth(0x86dd, ip6(4, inner4)))
	add("gre", eth(0x0800, ip4(47, cat(be16(0, 0x0800), inner4))))
	add("gre key sequence", eth(0x0800, ip4(47, cat(be16(0x3000, 0x86dd), be32(77, 1), inner6))))
	add("gre checksum", eth(0x0800, ip4(47, cat(be16(0x8000, 0x0800), slowSum(be16(0x8000, 0x0800), inner4), be16(0), inner4))))
	add("gre ethernet", eth(0x0800, ip4(47, cat(be16(0, 0x6558), frame))))
	add("gre mpls", eth(0x0800, ip4(47, cat(be16(0, 0x8847), be32(100<<12|0x140), inner4))))
	add("pptp", eth(0x0800, ip4(47, cat(be16(0x3081, 0x880b, 4+len(inner4), 9), be32(1, 2), raw{0xff, 3, 0, 0x21}, inner4))))
	add("erspan", eth(0x0800, ip4(47, cat(be16(0x1000, 0x88be), be32(5), be16(0x1064, 0x0007), be32(0), frame))))
	add("erspan without header", eth(0x0800, ip4(47, cat(be16(0, 0x88be), frame))))
	add("vxlan", eth(0x0800, udp4(50000, 4789, cat(raw{8, 0, 0, 0}, be32(5000<<8), frame))))
	add("vxlan arp", eth(0x0800, udp4(50000, 4789, cat(raw{8, 0, 0, 0}, be32(5000<<8), ethTo(broadcast, 0x0806, arpBody(1, macB, addrB, MAC{}, addrA))))))
	add("vxlan gpe", eth(0x0800, udp4(50000, 4790, cat(raw{0xc, 0, 0, 1}, be32(5000<<8), inner4))))
	add("geneve", eth(0x0800, udp4(50000, 6081, cat(raw{1, 0}, be16(0x6558), be32(6000<<8), be16(0x102), raw{0x80, 0}, frame))))
	add("gtp user", eth(0x0800, udp4(2152, 2152, cat(raw{0x30, 255}, be16(len(inner4)), be32(99), inner4))))
	add("gtp with extension", eth(0x0800, udp4(2152, 2152, cat(raw{0x34, 255}, be16(8+len(inner4)), be32(99), raw{0, 0, 0, 0x85, 1, 0, 9, 0}, inner4))))
	add("gtp control", eth(0x0800, udp4(2123, 2123, cat(raw{0x48, 32}, be16(8), be32(7, 0x100)))))
	add("l2tp data", eth(0x0800, udp4(1701, 1701, cat(be16(2, 5, 6), raw{0xff, 3, 0, 0x21}, inner4))))
	add("l2tp control", eth(0x0800, udp4(1701, 1701, cat(be16(0xc802, 20, 0, 0, 0, 0), be16(0x8008, 0, 0, 1)))))
	add("l2tp v3", eth(0x0800, ip4(115, cat(be32(77), zeros(20)))))
	add("etherip", eth(0x0800, ip4(97, cat(be16(0x3000), frame))))
	add("teredo", eth(0x0800, udp4(50000, 3544, inner6)))
	add("teredo with origin", eth(0x0800, udp4(50000, 3544, cat(raw{0, 0}, be16(1), zeros(4), inner6))))
	add("mpls", eth(0x8847, cat(be32(100<<12|0x40, 200<<12|0x140), inner4)))
	add("mpls ipv6", eth(0x8847, cat(be32(2<<12|0x140), inner6)))
	known := cat(raw{0, 0x1b, 0x21, 0, 0, 2, 0, 0x1b, 0x21, 0, 0, 1}, frame[12:]) // tshark guesses by who made the NIC
	add("mpls pseudowire", eth(0x8847, cat(be32(100<<12|0x140), be32(0), known)))
	add("mpls in udp", eth(0x0800, udp4(50000, 6635, cat(be32(100<<12|0x140), inner4))))
	add("pppoe session", eth(0x8864, cat(raw{0x11, 0}, be16(9, 2+len(inner4), 0x21), inner4)))
	add("pbb", eth(0x88e7, cat(be32(0x123456), frame)))
	add("nsh", eth(0x894f, cat(be16(0x0002), raw{2, 3}, be32(0x00012cff), frame)))
	add("segment routing ethernet", eth(0x86dd, ip6(143, frame)))
}

func linkSamples(add func(string, raw)) {
	inner := udp4(40000, 40001, str("tagged"))
	add("vlan", eth(0x8100, cat(be16(0x6005, 0x0800), inner)))
	add("vlan in vlan", eth(0x8100, cat(be16(100, 0x8100, 200, 0x0800), inner)))
	add("vlan in a provider's", eth(0x88a8, cat(be16(100, 0x8100, 200, 0x0800), inner)))
	add("vlan llc", eth(0x8100, cat(be16(7, 38), bpdu(0, 0))))
	add("pppoe discovery", ethTo(broadcast, 0x8863, cat(raw{0x11, 9}, be16(0, 12, 0x0101, 0, 0x0103, 4), str("abcd"))))
	add("pppoe offer", eth(0x8863, cat(raw{0x11, 7}, be16(0, 8, 0x0102, 4), str("bras"))))
	ppp := func(proto int, b raw) raw { return eth(0x8864, cat(raw{0x11, 0}, be16(9, 2+len(b), proto), b)) }
	add("ppp lcp", ppp(0xc021, cat(raw{1, 1}, be16(8), raw{1, 4, 5, 0xd4})))
	add("ppp ipcp", ppp(0x8021, cat(raw{1, 1}, be16(10), raw{3, 6, 0, 0, 0, 0})))
	add("ppp ipv6cp", ppp(0x8057, cat(raw{1, 1}, be16(4))))
	add("ppp pap", ppp(0xc023, cat(raw{1, 1}, be16(10), raw{1}, str("a"), raw{1}, str("b"), zeros(2))))
	add("ppp chap", ppp(0xc223, cat(raw{1, 1}, be16(9), raw{4, 1, 2, 3, 4})))
	add("pause", ethTo(MAC{1, 0x80, 0xc2, 0, 0, 1}, 0x8808, cat(be16(1, 0xffff), zeros(42))))
	state := func(m MAC) raw { return cat(be16(0x8000), m[:], be16(1, 0x8000, 1), raw{0x3d, 0, 0, 0}) }
	add("lacp", ethTo(MAC{1, 0x80, 0xc2, 0, 0, 2}, 0x8809, cat(raw{1, 1, 1, 20}, state(macA), raw{2, 20}, state(macB), raw{3, 16}, zeros(66))))
	add("oam", ethTo(MAC{1, 0x80, 0xc2, 0, 0, 2}, 0x8809, cat(raw{3, 0, 0x50, 0}, zeros(42))))
	add("ptp", ethTo(MAC{1, 0x1b, 0x19}, 0x88f7, ptpBytes()))
	add("macsec", eth(0x88e5, cat(raw{0x2c, 0}, be32(5), macA[:], be16(1), zeros(40))))
	add("wake on lan ethernet", ethTo(broadcast, 0x0842, wake()))
	add("cfm", eth(0x8902, cat(raw{0xa0, 1, 4, 70}, be32(9), zeros(66))))
	add("ctp", eth(0x9000, cat(raw{0, 0, 1, 0}, zeros(42))))
	add("eapol start", eth(0x888e, cat(raw{1, 1, 0, 0}, zeros(42))))
	add("eapol key", eth(0x888e, cat(raw{2, 3, 0, 95}, raw{2}, zeros(94))))
	add("eap identity", eth(0x888e, cat(raw{1, 0, 0, 8}, raw{2, 1, 0, 8, 1}, str("bob"))))
	add("profinet", eth(0x8892, zeros(46)))
	add("ethercat", eth(0x88a4, zeros(46)))
	add("local experiment", eth(0x88b5, zeros(46)))
}

func bpdu(version, kind int) raw {
	b := cat(raw{0x42, 0x42, 3}, be16(0), raw{byte(version), byte(kind), 0x3c}, be16(0x8000), macA[:], be32(4), be16(0x8001), macB[:], be16(0x8002, 0x100, 20<<8, 2<<8, 15<<8))
	if version == 2 {
		b = append(b, 0)
	}
	return b
}

func discoverySamples(add func(string, raw)) {
	add("stp", llcFrame(bpdu(0, 0)))
	add("rstp", llcFrame(bpdu(2, 2)))
	add("stp topology change", llcFrame(cat(raw{0x42, 0x42, 3}, be16(0), raw{0, 0x80})))
	add("ipx raw", llcFrame(cat(raw{0xff, 0xff}, be16(30), zeros(26))))
	add("netbeui", llcFrame(cat(raw{0xf0, 0xf0, 3, 44, 0, 0xff, 0xef, 8}, zeros(39))))
	add("llc supervisory", llcFrame(raw{0x04, 0x05, 0x01, 0x06}))
	add("snap ipv4", snapFrame(0, 0x0800, udp4(40000, 40001, str("snap"))))
	add("snap appletalk", snapFrame(0x080007, 0x809b, zeros(13)))
	add("vtp", snapFrame(0x00000c, 0x2003, cat(raw{1, 3, 0, 1}, zeros(40))))
	tlv := func(kind int, b raw) raw { return cat(be16(kind<<9|len(b)), b) }
	add("lldp", ethTo(MAC{1, 0x80, 0xc2, 0, 0, 14}, 0x88cc, cat(
		tlv(1, cat(raw{4}, macA[:])), tlv(2, cat(raw{5}, str("eth0"))), tlv(3, be16(120)), tlv(5, str("switch")), tlv(6, str("a switch")),
		tlv(7, be16(0x14, 4)), tlv(8, cat(raw{5, 1}, addrA, raw{2}, be32(1), raw{0})), tlv(127, raw{0, 0x12, 0xf, 1, 3}), tlv(0, nil))))
	part := func(kind int, b raw) raw { return cat(be16(kind, 4+len(b)), b) }
	body := cat(raw{2, 180, 0, 0}, part(1, str("router1")), part(3, str("Gi0/1")), part(6, str("model")), part(10, be16(1)))
	copy(body[2:], slowSum(body))
	add("cdp", snapFrame(0x00000c, 0x2000, body))
	isis := cat(raw{0xfe, 0xfe, 3, 0x83, 27, 1, 0, 15, 1, 0, 0, 3}, raw{1, 2, 3, 4, 5, 6}, be16(30, 27), raw{64}, zeros(7))
	add("is-is hello", llcFrame(isis))
	lsp := cat(raw{0xfe, 0xfe, 3, 0x83, 27, 1, 0, 18, 1, 0, 0}, be16(27, 1200), raw{1, 2, 3, 4, 5, 6, 0, 0}, be32(7), be16(0), raw{3})
	add("is-is lsp", llcFrame(lsp))
	add("es-is", llcFrame(cat(raw{0xfe, 0xfe, 3, 0x82, 10, 1, 0, 2}, zeros(10))))
}

// le16 is for the few protocols that are little-endian.
func le16(n int) raw { return binary.LittleEndian.AppendUint16(nil, uint16(n)) }
