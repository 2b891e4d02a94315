package bpf

import "capd/capture/device"

import "capd/pcap"

// Link types that only DLTs of certain systems map to (https://www.tcpdump.org/linktypes.html).
const (
	linkTypeATM        pcap.LinkType = 100
	linkTypeSLIPBSDOS  pcap.LinkType = 102
	linkTypePPPBSDOS   pcap.LinkType = 103
	linkTypeATMCLIP    pcap.LinkType = 106
	linkTypeNetBSDHDLC pcap.LinkType = 112 // "HDLC framing"
	linkTypePrism      pcap.LinkType = 119
	linkTypeAVS        pcap.LinkType = 163
	linkTypePPI        pcap.LinkType = 192
	linkTypeIPv4       pcap.LinkType = 228
	linkTypeIPv6       pcap.LinkType = 229
	linkTypePFSync     pcap.LinkType = 246
)

// netbsdRaw plus an address family is NetBSD's DLT for packets without a link layer (DLT_RAWAF of
// net/dlt.h).
const netbsdRaw = 0x02240000

// DLTs from matchingMin to matchingMax have the same numbers as link types, and so have some older
// ones (pcap/dlt.h of libpcap).
const (
	matchingMin = 104
	matchingMax = 301
)

// linkTypeOf returns the link type for a DLT of this system, and whether it is on the list of link
// types.
func (a *abi) linkTypeOf(dlt uint32) (t pcap.LinkType, known bool) {
	if t, ok := a.dlt[dlt]; ok {
		return t, true
	}
	switch dlt {
	case 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 50, 51, 99, 101:
		return pcap.LinkType(dlt), true
	case 11:
		return linkTypeATM, true
	case 19:
		return linkTypeATMCLIP, true
	}
	return pcap.LinkType(dlt), dlt >= matchingMin && dlt <= matchingMax
}

// wireless reports whether the link type occurs on Wi-Fi interfaces.
func wireless(t pcap.LinkType) bool {
	switch t {
	case pcap.LinkTypeIEEE80211, pcap.LinkTypeRadiotap, linkTypePrism, linkTypeAVS, linkTypePPI:
		return true
	}
	return false
}

// Interface types that guess distinguishes (IFT_ of net/if_types.h).
const (
	interfaceOther    = 1 // utun of macOS
	interfaceEthernet = 6
	interfacePPP      = 23
	interfaceLoopback = 24
	interfaceGIF      = 55 // of macOS
	interfaceSTF      = 57
	interfaceWiFi     = 71
	interfaceVLAN     = 135
	interfaceBridge   = 209
	interfaceEnc      = 244
	interfacePFLog    = 245 // 246 on FreeBSD
)

// guess returns the usual link type for interfaces of the type, and whether a list of interfaces may do with
// it. If the kernel can't be asked, tunnels are assumed to have the link type of loopback interfaces, though
// many are raw IP. Filters and files have the link type of an open device, never a guess.
func (a *abi) guess(interfaceType int) (t pcap.LinkType, sure bool) {
	switch interfaceType {
	case interfaceEthernet, interfaceWiFi, interfaceVLAN, interfaceBridge:
		return pcap.LinkTypeEthernet, true
	case interfaceLoopback:
		return a.loopback, true
	case interfaceOther, interfaceGIF, interfaceSTF:
		// XNU logs each bind of a device. Listing the interfaces must not cause a log line for each
		// tunnel, of which every Mac has several.
		return a.loopback, a.os == "darwin"
	case interfacePPP:
		return pcap.LinkTypePPP, false
	case interfaceEnc:
		return pcap.LinkTypeEnc, false
	case interfacePFLog:
		return pcap.LinkTypePFLog, false
	}
	return a.loopback, false
}

// fillLinkTypes sets the interfaces' link types. Where the hardware type does not determine the
// link type, it asks the kernel if it has the privilege.
func fillLinkTypes(s sys, a abi, all []device.Interface) {
	var unsure []*device.Interface
	for i := range all {
		var sure bool
		if all[i].LinkType, sure = a.guess(int(all[i].HardwareType)); !sure {
			unsure = append(unsure, &all[i])
		}
	}
	if len(unsure) == 0 {
		return
	}
	n, err := openNode(s, a)
	if err != nil {
		return // without privilege, the guess has to suffice
	}
	defer s.close(n.fd)
	for _, i := range unsure {
		if n.bind(i.Name) != nil {
			continue
		}
		if t, _, err := n.linkType(); err == nil {
			i.LinkType = t
		}
	}
}

// offered returns the link types that an interface offers, the default first, or why the interface
// can't be opened.
func offered(s sys, a abi, name string) ([]pcap.LinkType, error) {
	if name == device.Any {
		return nil, errNotAny()
	}
	if _, err := s.link(name); err != nil {
		return nil, err
	}
	n, err := openNode(s, a)
	if err != nil {
		return nil, err
	}
	defer s.close(n.fd)
	if err := n.bind(name); err != nil {
		return nil, err
	}
	own, err := n.get(biocGetDLT)
	if err != nil {
		return nil, cause("get link type", err)
	}
	return n.listed(append([]uint32{own}, n.linkTypes()...)), nil
}
