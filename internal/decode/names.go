package decode

import (
	"fmt"
	"strconv"
	"strings"
)

func number(i int) string { return strconv.Itoa(i) }

// pick returns the name at the index, or the index.
func pick(names []string, i int) string {
	if i >= 0 && i < len(names) && names[i] != "" {
		return names[i]
	}
	return number(i)
}

// flagWords are the names of the bits that are set, lowest first.
func flagWords(none string, bits uint64, names ...string) string {
	var all []string
	for i, name := range names {
		if bits&(1<<i) != 0 && name != "" {
			all = append(all, name)
		}
	}
	if len(all) == 0 {
		return none
	}
	return strings.Join(all, " ")
}

var arpOps = []string{
	1: "request", 2: "reply", 3: "reverse request", 4: "reverse reply", 8: "inverse request", 9: "inverse reply", 10: "nak",
}

var mptcpNames = []string{
	"capable", "join", "dss", "add-addr", "rem-addr", "prio", "fail", "fastclose", "tcprst",
}

// etherName is the name of an Ethernet type.
func etherName(t uint16) string {
	if name, ok := etherNames[t]; ok {
		return name
	}
	return fmt.Sprintf("ethertype-0x%04x", t)
}

var etherNames = map[uint16]string{
	0x0800: "ipv4", 0x0805: "x25", 0x0806: "arp", 0x0842: "wake-on-lan", 0x22ea: "srp", 0x22f0: "avtp", 0x22f3: "trill",
	0x6001: "mop-dl", 0x6002: "mop-rc", 0x6003: "decnet", 0x6004: "lat", 0x6007: "lavc", 0x6558: "ethernet",
	0x8035: "rarp", 0x809b: "appletalk", 0x80f3: "aarp", 0x8100: "vlan", 0x8137: "ipx", 0x86dd: "ipv6",
	0x8808: "pause", 0x8809: "slow", 0x8847: "mpls", 0x8848: "mpls", 0x8863: "pppoe", 0x8864: "pppoe",
	0x886d: "intel-ans", 0x887b: "homeplug", 0x888e: "eapol", 0x8892: "profinet", 0x889a: "hyperscsi", 0x88a2: "aoe",
	0x88a4: "ethercat", 0x88a8: "vlan", 0x88ab: "powerlink", 0x88b5: "local-experiment-1", 0x88b6: "local-experiment-2", 0x88b8: "goose",
	0x88ba: "sampled-values", 0x88be: "erspan", 0x88c7: "rsn-preauth", 0x88ca: "tipc", 0x88cc: "lldp", 0x88cd: "sercos", 0x88e1: "homeplug-av",
	0x88e5: "macsec", 0x88e7: "pbb", 0x88f5: "mvrp", 0x88f7: "ptp", 0x88f8: "ncsi", 0x88fb: "prp", 0x8902: "cfm", 0x8906: "fcoe",
	0x8914: "fip", 0x8915: "roce", 0x891d: "tte", 0x893a: "ieee1905", 0x892f: "hsr", 0x894f: "nsh", 0x9000: "ctp",
	0x9100: "vlan", 0x9200: "vlan", 0x99fe: "batman-adv-gw", 0x4305: "batman-adv", 0xcafe: "veritas",
}

// protoName is the name of a protocol of IP.
func protoName(p uint8) string {
	if name, ok := protoNames[p]; ok {
		return name
	}
	return fmt.Sprintf("ip-proto-%d", p)
}

var protoNames = map[uint8]string{
	0: "hop-by-hop", 1: "icmp", 2: "igmp", 3: "ggp", 4: "ipv4", 5: "st", 6: "tcp", 8: "egp", 9: "igrp", 12: "pup", 17: "udp",
	20: "hmp", 22: "idp", 27: "rdp", 29: "iso-tp4", 33: "dccp", 36: "xtp", 41: "ipv6", 43: "routing", 44: "fragment", 45: "idrp",
	46: "rsvp", 47: "gre", 50: "esp", 51: "ah", 54: "narp", 55: "mobile-ip", 57: "skip", 58: "icmpv6", 59: "no-next-header", 60: "destination-options",
	73: "rspf", 81: "vmtp", 88: "eigrp", 89: "ospf", 92: "mtp", 94: "ipip", 97: "etherip", 98: "encap", 103: "pim", 108: "ipcomp",
	112: "vrrp", 115: "l2tp", 124: "isis", 132: "sctp", 133: "fc", 135: "mobility", 136: "udplite", 137: "mpls", 138: "manet",
	139: "hip", 140: "shim6", 141: "wesp", 142: "rohc", 143: "ethernet", 255: "raw",
}

// portName is the well-known name of a port, or "".
func portName(port uint16, tcp bool) string {
	if tcp {
		if name, ok := tcpNames[port]; ok {
			return name
		}
	} else if name, ok := udpNames[port]; ok {
		return name
	}
	return portNames[port]
}

// Names of ports after IANA's list: of TCP, of the others, and of both.
var (
	tcpNames = map[uint16]string{
		20: "ftp-data", 21: "ftp", 22: "ssh", 23: "telnet", 25: "smtp", 43: "whois", 70: "gopher", 79: "finger", 80: "http",
		109: "pop2", 110: "pop3", 113: "auth", 119: "nntp", 143: "imap", 179: "bgp", 443: "https", 445: "microsoft-ds",
		465: "submissions", 502: "mbap", 512: "exec", 513: "login", 514: "shell", 515: "printer", 543: "klogin", 554: "rtsp",
		563: "nntps", 587: "submission", 631: "ipp", 636: "ldaps", 646: "ldp", 853: "domain-s", 873: "rsync", 989: "ftps-data", 990: "ftps",
		993: "imaps", 995: "pop3s", 1080: "socks", 1433: "ms-sql-s", 1521: "ncube-lm", 1723: "pptp", 1883: "mqtt", 2181: "eforward",
		2379: "etcd-client", 2380: "etcd-server", 3128: "ndl-aas", 3260: "iscsi-target", 3306: "mysql", 3389: "ms-wbt-server",
		3868: "diameter", 5222: "xmpp-client", 5269: "xmpp-server", 5432: "postgresql", 5672: "amqp", 5900: "rfb", 5984: "couchdb",
		6000: "x11", 6379: "redis", 6653: "openflow", 6667: "ircu", 6697: "ircs-u", 8080: "http-alt", 8443: "pcsync-https",
		8883: "secure-mqtt", 9100: "pdl-datastream", 9418: "git", 11211: "memcache", 27017: "mongodb",
	}
	udpNames = map[uint16]string{
		67: "bootps", 68: "bootpc", 69: "tftp", 123: "ntp", 137: "netbios-ns", 138: "netbios-dgm", 161: "snmp", 162: "snmptrap",
		319: "ptp-event", 320: "ptp-general", 443: "https", 500: "isakmp", 514: "syslog", 520: "route", 521: "ripng",
		546: "dhcpv6-client", 547: "dhcpv6-server", 623: "asf-rmcp", 1194: "openvpn", 1645: "sightline", 1646: "sa-msg-port", 1701: "l2tp", 1812: "radius", 1813: "radius-acct",
		1900: "ssdp", 1985: "hsrp", 2029: "hsrpv6", 2055: "iop", 2123: "gtp-control", 2152: "gtp-user", 3222: "glbp", 3478: "stun", 3544: "teredo",
		3702: "ws-discovery", 3784: "bfd-control", 3785: "bfd-echo", 4500: "ipsec-nat-t", 4739: "ipfix", 4784: "bfd-multi-ctl",
		4789: "vxlan", 4790: "vxlan-gpe", 5351: "nat-pmp", 5353: "mdns", 5355: "llmnr", 5683: "coap", 5684: "coaps",
		6081: "geneve", 6343: "sflow", 6635: "mpls-udp", 9995: "palace-4", 17500: "db-lsp", 47808: "bacnet", 51820: "wireguard",
	}
	portNames = map[uint16]string{
		7: "echo", 9: "discard", 13: "daytime", 19: "chargen", 37: "time", 49: "tacacs", 53: "domain", 88: "kerberos", 111: "sunrpc",
		135: "epmap", 139: "netbios-ssn", 389: "ldap", 464: "kpasswd", 749: "kerberos-adm", 2049: "nfs", 5060: "sip", 5061: "sips",
	}
)
