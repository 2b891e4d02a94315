package filter

import (
	"slices"
	"strings"
)

// A proto is a protocol that has a keyword.
type proto uint8

const (
	protoAny proto = iota
	protoLink
	protoIP
	protoARP
	protoRARP
	protoSCTP
	protoTCP
	protoUDP
	protoICMP
	protoIGMP
	protoIGRP
	protoPIM
	protoVRRP
	protoCARP
	protoATalk
	protoAARP
	protoDECnet
	protoLAT
	protoSCA
	protoMOPDL
	protoMOPRC
	protoIPv6
	protoICMPv6
	protoAH
	protoESP
	protoISO
	protoESIS
	protoISIS
	protoISISL1
	protoISISL2
	protoISISIIH
	protoISISLSP
	protoISISSNP
	protoISISCSNP
	protoISISPSNP
	protoCLNP
	protoSTP
	protoIPX
	protoNetBEUI
	protoRadio
)

// protoWords are the keywords of the protocols in their standard spelling, indexed by proto.
var protoWords = [...]string{
	protoLink: "ether", protoIP: "ip", protoARP: "arp", protoRARP: "rarp",
	protoSCTP: "sctp", protoTCP: "tcp", protoUDP: "udp", protoICMP: "icmp",
	protoIGMP: "igmp", protoIGRP: "igrp", protoPIM: "pim", protoVRRP: "vrrp",
	protoCARP: "carp", protoATalk: "atalk", protoAARP: "aarp",
	protoDECnet: "decnet", protoLAT: "lat", protoSCA: "sca",
	protoMOPDL: "mopdl", protoMOPRC: "moprc", protoIPv6: "ip6",
	protoICMPv6: "icmp6", protoAH: "ah", protoESP: "esp", protoISO: "iso",
	protoESIS: "esis", protoISIS: "isis", protoISISL1: "l1",
	protoISISL2: "l2", protoISISIIH: "iih", protoISISLSP: "lsp",
	protoISISSNP: "snp", protoISISCSNP: "csnp", protoISISPSNP: "psnp",
	protoCLNP: "clnp", protoSTP: "stp", protoIPX: "ipx",
	protoNetBEUI: "netbeui", protoRadio: "radio",
}

func (p proto) String() string { return protoWords[p] }

// protoOf returns the protocol of a keyword.
func protoOf(word string) (proto, bool) {
	if word == "" {
		return 0, false
	}
	i := slices.Index(protoWords[:], word)
	return proto(max(i, 0)), i > 0
}

// words are the keywords other than protocols.
var words = strings.Fields(`and or not src dst host net mask port portrange proto
protochain gateway less greater broadcast multicast len inbound outbound ifindex
vlan mpls pppoed pppoes geneve llc`)

// spellings are alternative spellings of keywords.
var spellings = [...][2]string{
	{"&&", "and"}, {"||", "or"}, {"==", "="}, {"length", "len"},
	{"link", "ether"}, {"ppp", "ether"}, {"slip", "ether"}, {"fddi", "ether"},
	{"tr", "ether"}, {"wlan", "ether"}, {"es-is", "esis"}, {"is-is", "isis"},
}

// foreign are keywords that need a link type or a service that this package does not support, with
// the reason.
var foreign = map[string]string{
	"vxlan": "capd does not know it: use udp port 4789",
	"byte":  `"byte" is not in the language: use ether[offset]`,
	"type":  wlanOnly, "subtype": wlanOnly, "direction": wlanOnly, "dir": wlanOnly,
	"address1": wlanOnly, "addr1": wlanOnly, "address2": wlanOnly, "addr2": wlanOnly,
	"address3": wlanOnly, "addr3": wlanOnly, "address4": wlanOnly, "addr4": wlanOnly,
	"ra": wlanOnly, "ta": wlanOnly,
	"lane": atmOnly, "metac": atmOnly, "bcc": atmOnly, "oam": atmOnly, "oamf4": atmOnly,
	"oamf4ec": atmOnly, "oamf4sc": atmOnly, "sc": atmOnly, "ilmic": atmOnly,
	"vpi": atmOnly, "vci": atmOnly, "connectmsg": atmOnly, "metaconnect": atmOnly,
	"on": pfOnly, "ifname": pfOnly, "rset": pfOnly, "ruleset": pfOnly, "rnr": pfOnly,
	"rulenum": pfOnly, "srnr": pfOnly, "subrulenum": pfOnly, "reason": pfOnly,
	"action": pfOnly,
	"fisu":   ss7Only, "lssu": ss7Only, "lsu": ss7Only, "msu": ss7Only, "hfisu": ss7Only,
	"hlssu": ss7Only, "hmsu": ss7Only, "sio": ss7Only, "opc": ss7Only, "dpc": ss7Only,
	"sls": ss7Only, "hsio": ss7Only, "hopc": ss7Only, "hdpc": ss7Only, "hsls": ss7Only,
}

const (
	wlanOnly = "it is for IEEE 802.11 frames"
	atmOnly  = "it is for SunATM frames"
	pfOnly   = "it is for frames of pflog(4)"
	ss7Only  = "it is for SS7 frames"
)

// keyword returns the standard spelling of a keyword.
func keyword(s string) (string, bool) {
	for _, p := range spellings {
		if p[0] == s {
			return p[1], true
		}
	}
	if _, ok := foreign[s]; ok {
		return s, true
	}
	if _, ok := protoOf(s); ok {
		return s, true
	}
	return s, slices.Contains(words, s)
}

// constants are the named numbers of pcap-filter(7).
var constants = map[string]uint32{
	"icmptype": 0, "icmpcode": 1, "icmp-echoreply": 0, "icmp-unreach": 3,
	"icmp-sourcequench": 4, "icmp-redirect": 5, "icmp-echo": 8,
	"icmp-routeradvert": 9, "icmp-routersolicit": 10, "icmp-timxceed": 11,
	"icmp-paramprob": 12, "icmp-tstamp": 13, "icmp-tstampreply": 14,
	"icmp-ireq": 15, "icmp-ireqreply": 16, "icmp-maskreq": 17,
	"icmp-maskreply": 18,

	"icmp6type": 0, "icmp6code": 1, "icmp6-destinationunreach": 1,
	"icmp6-packettoobig": 2, "icmp6-timeexceeded": 3,
	"icmp6-parameterproblem": 4, "icmp6-echo": 128, "icmp6-echoreply": 129,
	"icmp6-multicastlistenerquery": 130, "icmp6-multicastlistenerreportv1": 131,
	"icmp6-multicastlistenerdone": 132, "icmp6-routersolicit": 133,
	"icmp6-routeradvert": 134, "icmp6-neighborsolicit": 135,
	"icmp6-neighboradvert": 136, "icmp6-redirect": 137,
	"icmp6-routerrenum": 138, "icmp6-nodeinformationquery": 139,
	"icmp6-nodeinformationresponse": 140, "icmp6-ineighbordiscoverysolicit": 141,
	"icmp6-ineighbordiscoveryadvert": 142, "icmp6-multicastlistenerreportv2": 143,
	"icmp6-homeagentdiscoveryrequest": 144, "icmp6-homeagentdiscoveryreply": 145,
	"icmp6-mobileprefixsolicit": 146, "icmp6-mobileprefixadvert": 147,
	"icmp6-certpathsolicit": 148, "icmp6-certpathadvert": 149,
	"icmp6-multicastrouteradvert": 151, "icmp6-multicastroutersolicit": 152,
	"icmp6-multicastrouterterm": 153,

	"tcpflags": 13, "tcp-fin": 0x01, "tcp-syn": 0x02, "tcp-rst": 0x04,
	"tcp-push": 0x08, "tcp-ack": 0x10, "tcp-urg": 0x20, "tcp-ece": 0x40,
	"tcp-cwr": 0x80,
}

// constant returns the number of a named constant.
func constant(name string) (uint32, bool) {
	n, ok := constants[name]
	return n, ok
}

// nearest returns the candidate that is most similar to the word, or "" if none is similar.
func nearest(word string, candidates []string) string {
	best, least := "", 1+(len(word)+1)/3
	if len(word) > 40 {
		return ""
	}
	word = strings.ToLower(word)
	for _, c := range candidates {
		if d := distance(word, c); d < least || d == least && c < best {
			best, least = c, d
		}
	}
	return best
}

// distance returns how many letters must be inserted, removed, replaced or swapped with their
// neighbor to turn a into b.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(a)][len(b)]
}
