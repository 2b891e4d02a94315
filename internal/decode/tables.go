package decode

import (
	"sync"

	"capd/pcap"
)

// allProtocols builds the tables at the first need.
var allProtocols = sync.OnceValue(func() *protocols {
	p := &protocols{links: linkTypes(), etherTypes: etherTypes(), ip: ipProtocols()}
	p.tcpPorts, p.udpPorts = tcpPorts(), udpPorts()
	p.families = map[uint32]protocol{2: ipv4, 7: llc, 10: ipv6, 24: ipv6, 28: ipv6, 30: ipv6}
	p.gpe = map[uint8]protocol{1: ipv4, 2: ipv6, gpeEthernet: ethernet, 4: nsh, 5: mpls}
	p.gre = map[uint16]protocol{0x22eb: erspan, 0x880b: ppp, 0x88be: erspan}
	p.ppp = map[uint16]protocol{
		0x0021: ipv4, 0x0057: ipv6, 0x0281: mpls, 0x0283: mpls, 0x8021: pppControl("ipcp"), 0x8057: pppControl("ipv6cp"),
		0x80fd: pppControl("ccp"), 0xc021: pppControl("lcp"), 0xc023: pppControl("pap"), 0xc223: pppControl("chap"),
	}
	p.tcpStarts = []payload{{tls, isTLS}, {http("http"), isHTTP}, {lines("ssh"), isSSH}, {bgp, isBGP}, {smb, isSMB}}
	p.udpStarts = []payload{{dtls, isDTLS}, {stun, isSTUN}, {quic, isQUIC}, {wakeOnLAN, isMagicRepeated}}
	for bits := range p.tcpFlags {
		p.tcpFlags[bits] = tcpFlags(uint16(bits))
	}
	return p
})

// linkTypes are numbers of the list at https://www.tcpdump.org/linktypes.html.
func linkTypes() map[pcap.LinkType]protocol {
	return map[pcap.LinkType]protocol{
		pcap.LinkTypeEthernet:  ethernet,
		pcap.LinkTypeNull:      loopback,
		pcap.LinkTypeLoop:      loopback,
		pcap.LinkTypeEnc:       enc,
		pcap.LinkTypeRaw:       ip,
		pcap.LinkTypePPP:       ppp,
		pcap.LinkTypeLinuxSLL:  sll,
		pcap.LinkTypeLinuxSLL2: sll2,
		pcap.LinkTypePFLog:     pflog,
		pcap.LinkTypeIEEE80211: dot11,
		pcap.LinkTypeRadiotap:  radiotap,
		pcap.LinkTypePKTAP:     pktap,
		12:                     ip, 14: ip, // raw IP by the numbers that systems have for it; files have 101
		50:  hdlc,       // PPP_HDLC
		51:  pppoeAny,   // PPP_ETHER
		104: ciscoHDLC,  // C_HDLC
		107: frameRelay, // FRELAY
		192: ppi,
		227: can, // CAN_SOCKETCAN
		228: ipv4,
		229: ipv6,
		239: nflog,
		242: ipoib,
		253: sll, // NETLINK: a cooked header whose hardware type says what it is
	}
}

func etherTypes() map[uint16]protocol {
	return map[uint16]protocol{
		etherIPv4: ipv4, etherIPv6: ipv6, etherARP: arp("arp"), etherRARP: arp("rarp"), etherTEB: ethernet,
		0x8100: vlan, 0x88a8: vlan, 0x9100: vlan, 0x9200: vlan, 0x8847: mpls, 0x8848: mpls, 0x8863: pppoeDiscovery, 0x8864: pppoe,
		0x88cc: lldp, 0x888e: eapol, 0x8808: pause, 0x8809: slowProtocol, 0x88f7: ptp, 0x88e5: macsec, 0x88e7: pbb,
		0x894f: nsh, 0x0842: wakeOnLAN, 0x8902: cfm, 0x9000: ctp,
	}
}

func ipProtocols() [256]protocol {
	return [256]protocol{
		0: nameOnly("hop-by-hop"), // not first, where it has no place
		1: icmp, 2: igmp, 4: inTunnel("ipip", ipv4), 6: tcp, 17: udp, 33: dccp, 41: inTunnel("ipip", ipv6), 46: rsvp, 47: gre,
		50: esp, 51: ah, 58: icmp6, 59: nameOnly("no-next-header"), 88: eigrp, 89: ospf, 94: inTunnel("ipip", ipv4), 97: etherIP,
		103: pim, 108: ipcomp, 112: vrrp, 115: l2tp3, 132: sctp, 136: udplite, 137: inTunnel("mpls-in-ip", mpls),
		143: inTunnel("srv6", ethernet), // of segment routing
	}
}

// tcpPorts has the ports of which segments are decoded. What can't begin a
// message of its protocol stays TCP: most segments of a long message begin in
// its middle.
func tcpPorts() map[uint16]payload {
	ports := map[uint16]payload{
		53: {decode: dnsTCP}, 102: {decode: tpkt("iso-tsap")}, 502: {decode: modbus}, 646: {decode: ldp}, 1723: {decode: pptpControl},
		1883: {decode: mqtt}, 3260: {decode: iscsi}, 3306: {decode: mysql}, 3389: {decode: tpkt("rdp")}, 3868: {decode: diameter},
		5432: {decode: postgres}, 6633: {decode: openflow}, 6653: {decode: openflow},
	}
	for port, name := range map[uint16]string{
		21: "ftp", 25: "smtp", 43: "whois", 79: "finger", 110: "pop3", 119: "nntp", 143: "imap", 514: "syslog", 554: "rtsp", 587: "smtp",
		5060: "sip", 5222: "xmpp", 5269: "xmpp", 6379: "redis", 6667: "irc", 11211: "memcache",
	} {
		ports[port] = payload{lines(name), isText}
	}
	return ports
}

func udpPorts() map[uint16]payload {
	ports := map[uint16]payload{7: {wakeOnLAN, isMagic}, 9: {wakeOnLAN, isMagic}, 443: {https, notDTLS}}
	for port, p := range map[uint16]protocol{
		53: dns("dns"), 137: dns("nbns"), 5353: dns("mdns"), 5355: dns("llmnr"), 138: nbdgm, 67: dhcp, 68: dhcp, 546: dhcp6, 547: dhcp6,
		69: tftp, 123: ntp, 161: snmp, 162: snmp, 319: ptp, 320: ptp, 500: ike, 4500: ikeNAT, 514: lines("syslog"), 520: rip, 521: ripng,
		646: ldp, 1645: radius, 1646: radius, 1812: radius, 1813: radius, 1900: http("ssdp"), 1985: hsrp, 2029: hsrp,
		2055: netflow, 4739: netflow, 9995: netflow, 3784: bfd, 4784: bfd, 5060: lines("sip"), 5351: natpmp, 5683: coap, 6343: sflow,
		47808: bacnet, 51820: wireguard,
		1701: l2tp, 2123: gtp, 2152: gtp, 3544: teredo, 4789: vxlan, 4790: vxlan, 8472: vxlan, 6081: geneve, 6635: inTunnel("mpls-in-udp", mpls),
	} {
		ports[port] = payload{decode: p}
	}
	return ports
}
