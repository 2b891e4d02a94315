package decode

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"strings"

	"capd/pcap"
)

// quicInitial is the first packet of a client, protected as RFC 9001 says; its
// hello comes in two parts, the second first.
func quicInitial(version uint32, hello raw) raw {
	dcid := raw{0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08}
	salt, label, first := "\x38\x76\x2c\xf7\xf5\x59\x34\xb3\x4d\x17\x9a\xe6\xa4\xc8\x0c\xad\xcc\xbb\x7f\x0a", "quic ", byte(0xc0)
	if version != 1 {
		salt, label, first = "\x0d\xed\xe3\xde\xf7\x00\xa6\xdb\x81\x93\x81\xbe\x6e\x26\x9d\xcb\xf9\xbd\x2e\xd9", "quicv2 ", 0xd0
	}
	expand := func(secret raw, label string, n int) raw {
		label = "tls13 " + label
		return hash(secret, cat(be16(n), raw{byte(len(label))}, str(label), raw{0, 1}))[:n]
	}
	secret := expand(hash(str(salt), dcid), "client in", 32)
	half := len(hello) / 2
	varint := func(n int) raw { return be16(0x4000 | n) }
	payload := cat(raw{6}, varint(half), varint(len(hello)-half), hello[half:], raw{1}, raw{6}, varint(0), varint(half), hello[:half])
	payload = append(payload, zeros(1162-len(payload))...)
	head := cat(raw{first}, binary.BigEndian.AppendUint32(nil, version), raw{8}, dcid, raw{0, 0}, varint(1+len(payload)+16), raw{0})
	block, _ := aes.NewCipher(expand(secret, label+"key", 16))
	aead, _ := cipher.NewGCM(block)
	b := aead.Seal(head, expand(secret, label+"iv", 12), payload, head) // packet number 0
	at := len(head) - 1
	mask, _ := aes.NewCipher(expand(secret, label+"hp", 16))
	var m [16]byte
	mask.Encrypt(m[:], b[at+4:at+20])
	b[0] ^= m[0] & 15
	b[at] ^= m[1]
	return b
}

func hash(key, b raw) raw {
	h := hmac.New(sha256.New, key)
	h.Write(b)
	return h.Sum(nil)
}

// oddSamples are frames that nobody should send.
func oddSamples(add func(string, raw)) {
	plain := udp4(40000, 40001, str("payload"))
	add("odd ipv4 checksum", eth(0x0800, changed(plain, 10, 0, 0)))
	add("odd ipv4 version", eth(0x0800, changed(plain, 0, 0x95)))
	add("odd ipv4 header length 4", eth(0x0800, changed(plain, 0, 0x41)))
	add("odd ipv4 header behind the end", eth(0x0800, changed(plain, 0, 0x4f)))
	add("odd ipv4 total length 10", eth(0x0800, changed(plain, 2, 0, 10)))
	add("odd ipv4 total length 2000", eth(0x0800, changed(plain, 2, 7, 208)))
	add("odd ipv4 option of length 0", eth(0x0800, ip4With(17, 0, raw{7, 0, 0, 0}, plain[20:])))
	add("odd ipv6 payload length", eth(0x86dd, changed(ip6(17, plain[20:]), 4, 7, 208)))
	add("odd ipv6 endless options", eth(0x86dd, ip6(0, raw(strings.Repeat("\x00\x00\x01\x04\x00\x00\x00\x00", 60)))))
	add("odd ipv6 option behind its header", eth(0x86dd, ip6(60, cat(raw{17, 0, 1, 200, 0, 0, 0, 0}, plain[20:]))))
	add("odd udp length 3", eth(0x0800, changed(plain, 24, 0, 3)))
	add("odd udp length 2000", eth(0x0800, changed(plain, 24, 7, 208)))
	add("odd udp checksum", eth(0x0800, changed(plain, 26, 1, 2)))
	oddSegments(add)
	oddNames(add)
	oddControl(add)
	oddNesting(add, plain)
	add("odd ethernet type 1501", eth(1501, plain))
	add("odd length over the frame", ethTo(macB, 1400, raw{0x42, 0x42, 3, 0, 0}))
	add("odd empty frame", raw{})
}

func changed(b raw, at int, to ...byte) raw {
	b = cat(b)
	copy(b[at:], to)
	return b
}

func oddSegments(add func(string, raw)) {
	segment := tcp4(40000, 40001, 0x18, nil, str("payload"))
	add("odd tcp checksum", eth(0x0800, changed(segment, 36, 1, 2)))
	add("odd tcp header length 8", eth(0x0800, changed(segment, 32, 0x20)))
	add("odd tcp header behind the end", eth(0x0800, changed(segment, 32, 0xf0)))
	add("odd tcp option of length 0", eth(0x0800, tcp4(40000, 40001, 2, raw{8, 0, 0, 0}, nil)))
	add("odd tcp option behind the end", eth(0x0800, tcp4(40000, 40001, 2, raw{8, 40, 0, 0}, nil)))
}

func oddNames(add func(string, raw)) {
	add("odd dns pointer to itself", eth(0x0800, udp4(40000, 53, cat(dnsHeader(0x0100, 1, 0, 0, 0), raw{0xc0, 12}, be16(1, 1)))))
	add("odd dns pointers in a circle", eth(0x0800, udp4(40000, 53, cat(dnsHeader(0x0100, 1, 0, 0, 0), raw{0xc0, 14, 0xc0, 12}, be16(1, 1)))))
	add("odd dns counts", eth(0x0800, udp4(53, 40000, cat(dnsHeader(0x8180, 65535, 65535, 65535, 65535), dnsName("a"), be16(1, 1)))))
	add("odd dns name with escapes", eth(0x0800, udp4(40000, 53, cat(dnsHeader(0x0100, 1, 0, 0, 0), dnsName("\x1b[31mred\x07", "\u202eabc\xff\\"), be16(1, 1)))))
	add("odd http with escapes", eth(0x0800, tcp4(40000, 80, 0x18, nil, str("GET /\x1b]0;title\x07\x9b31m HTTP/1.1\r\nHost: \x1b[2J\r\n\r\n"))))
	add("odd tls name with escapes", eth(0x0800, tcp4(40443, 443, 0x18, nil, tlsRecordBytes(22, 0x0301, handshake(1, hello("\x1b[2J\nfake", false))))))
}

func oddControl(add func(string, raw)) {
	add("odd lldp part behind the end", ethTo(MAC{1, 0x80, 0xc2, 0, 0, 14}, 0x88cc, raw{2, 100, 4, 1}))
	add("odd radius attribute of length 0", eth(0x0800, udp4(40000, 1812, cat(raw{1, 9}, be16(22), zeros(16), raw{1, 0}))))
	add("odd neighbor option of length 0", eth(0x86dd, icmp6To(allNodes, 133, 0, cat(be32(0), raw{1, 0, 0, 0, 0, 0, 0, 0}))))
	add("odd sctp chunk of length 0", eth(0x0800, ip4(132, cat(be16(40000, 40001), be32(0, 0), zeros(8)))))
	add("odd bgp message of length 0", eth(0x0800, tcp4(40000, 179, 0x18, nil, cat(raw(strings.Repeat("\xff", 16)), zeros(3)))))
	add("odd snmp length", eth(0x0800, udp4(40000, 161, raw{0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 2, 1})))
	add("odd gtp extension of length 0", eth(0x0800, udp4(2152, 2152, cat(raw{0x34, 255}, be16(8), be32(99), raw{0, 0, 0, 0x85, 0, 0, 0, 0}))))
}

// oddNesting are more layers than anybody needs.
func oddNesting(add func(string, raw), plain raw) {
	deep := plain
	for range 40 {
		deep = ip4(4, deep)
	}
	add("odd ipip 40 deep", eth(0x0800, deep))
	add("odd vlan 100 deep", eth(0x8100, cat(raw(strings.Repeat("\x00\x01\x81\x00", 100)), be16(1, 0x0800), plain)))
	add("odd mpls 100 labels", eth(0x8847, cat(raw(strings.Repeat("\x00\x01\x00\x40", 100)), be32(0x140), plain)))
}

// otherLinks are packets that are none of Ethernet's.
func otherLinks() []sample {
	four, six := udp4(40000, 40001, str("four")), udp6(40000, 40001, str("six"))
	var all []sample
	add := func(name string, link pcap.LinkType, b ...raw) {
		p := cat(b...)
		all = append(all, sample{name, link, pcap.Packet{Data: p, Length: uint32(len(p))}})
	}
	add("null ipv4", pcap.LinkTypeNull, raw{2, 0, 0, 0}, four)
	add("null ipv6 of freebsd", pcap.LinkTypeNull, raw{0, 0, 0, 28}, six)
	add("loop ipv4", pcap.LinkTypeLoop, raw{0, 0, 0, 2}, four)
	add("loop ipv6", pcap.LinkTypeLoop, raw{0, 0, 0, 24}, six)
	add("raw ipv4", pcap.LinkTypeRaw, four)
	add("raw ipv6", pcap.LinkTypeRaw, six)
	add("raw neither", pcap.LinkTypeRaw, raw{0x99, 1, 2})
	add("ppp ipv4", pcap.LinkTypePPP, raw{0xff, 3, 0, 0x21}, four)
	add("ppp ipv6 compressed", pcap.LinkTypePPP, raw{0x57}, six)
	cooked := func(kind int, proto int) raw { return cat(be16(kind, 1, 6), macA[:], zeros(2), be16(proto)) }
	add("sll ipv4", pcap.LinkTypeLinuxSLL, cooked(0, 0x0800), four)
	add("sll ipv6 out", pcap.LinkTypeLinuxSLL, cooked(4, 0x86dd), six)
	add("sll arp", pcap.LinkTypeLinuxSLL, cooked(1, 0x0806), arpBody(1, macA, addrA, MAC{}, addrB))
	add("sll vlan", pcap.LinkTypeLinuxSLL, cooked(0, 0x8100), be16(5, 0x0800), four)
	add("sll stp", pcap.LinkTypeLinuxSLL, cooked(2, 4), bpdu(0, 0))
	cooked2 := func(kind, proto int) raw {
		return cat(be16(proto, 0), be32(3), be16(1), raw{byte(kind), 6}, macA[:], zeros(2))
	}
	add("sll2 ipv4", pcap.LinkTypeLinuxSLL2, cooked2(0, 0x0800), four)
	add("sll2 ipv6", pcap.LinkTypeLinuxSLL2, cooked2(4, 0x86dd), six)
	add("sll2 arp", pcap.LinkTypeLinuxSLL2, cooked2(1, 0x0806), arpBody(1, macA, addrA, MAC{}, addrB))
	add("enc ipv4", pcap.LinkTypeEnc, raw{2, 0, 0, 0}, be32(0x1234, 0x6000), four)
	add("pflog ipv4", pcap.LinkTypePFLog, raw{61, 2, 0, 0}, str("em0"), zeros(13), zeros(41), zeros(3), four)
	tapped := cat(raw{108, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0}, str("en0"), zeros(21), zeros(16), raw{77, 0, 0, 0}, str("curl"), zeros(48))
	add("pktap ethernet", pcap.LinkTypePKTAP, tapped, eth(0x0800, four))
	beacon := cat(raw{0x80, 0, 0, 0}, broadcast[:], macA[:], macA[:], raw{0x10, 0}, zeros(8), le16(100), le16(1), raw{0, 4}, str("home"), raw{3, 1, 6})
	add("802.11 beacon", pcap.LinkTypeIEEE80211, beacon)
	snap := cat(raw{0xaa, 0xaa, 3, 0, 0, 0}, be16(0x0800), four)
	to := MAC{2, 0, 0, 0, 0, 9}
	add("802.11 data", pcap.LinkTypeIEEE80211, raw{0x08, 1, 0, 0}, to[:], macA[:], macB[:], raw{0x20, 0}, snap)
	add("802.11 qos data", pcap.LinkTypeIEEE80211, raw{0x88, 2, 0, 0}, macB[:], to[:], macA[:], raw{0x20, 0, 0, 0}, snap)
	add("802.11 protected", pcap.LinkTypeIEEE80211, raw{0x08, 0x41, 0, 0}, to[:], macA[:], macB[:], raw{0x20, 0}, zeros(40))
	add("802.11 ack", pcap.LinkTypeIEEE80211, raw{0xd4, 0, 0, 0}, macA[:])
	add("802.11 deauthentication", pcap.LinkTypeIEEE80211, raw{0xc0, 0, 0, 0}, macB[:], macA[:], macA[:], raw{0x30, 0}, le16(7))
	tap := cat(raw{0, 0}, le16(14), raw{0x2e, 0, 0, 0}, raw{0, 12}, le16(2437), le16(0xa0))
	add("radiotap beacon", pcap.LinkTypeRadiotap, append(tap, 0xd8)[:14], beacon)
	return all
}
