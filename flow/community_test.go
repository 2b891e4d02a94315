package flow

import (
	"net/netip"
	"testing"
)

// A vector is a flow and its Community ID with the seeds 0 and 1. Ports of ICMP are as the specification's tables have them.
type vector struct {
	proto    uint8
	src, dst string
	ports    []uint16
	ids      [2]string
}

// vectors are those of the specification's baseline, https://github.com/corelight/community-id-spec (BSD licence of 3 clauses,
// Copyright 2017-2018 by Corelight, Inc).
var vectors = []vector{
	{58, "fe80::200:86ff:fe05:80da", "fe80::260:97ff:fe07:69ea", []uint16{135, 136}, [2]string{"1:dGHyGvjMfljg6Bppwm3bg0LO8TY=", "1:kHa1FhMYIT6Ym2Vm2AOtoOARDzY="}},
	{58, "fe80::260:97ff:fe07:69ea", "fe80::200:86ff:fe05:80da", []uint16{136, 135}, [2]string{"1:dGHyGvjMfljg6Bppwm3bg0LO8TY=", "1:kHa1FhMYIT6Ym2Vm2AOtoOARDzY="}},
	{58, "fe80::260:97ff:fe07:69ea", "fe80::200:86ff:fe05:80da", []uint16{135, 136}, [2]string{"1:zavyT/cezQr1fmImYCwYnMXbgck=", "1:2hSqmsDZ2kdcY9kbiUzOEBic0iM="}},
	{58, "fe80::200:86ff:fe05:80da", "fe80::260:97ff:fe07:69ea", []uint16{136, 135}, [2]string{"1:zavyT/cezQr1fmImYCwYnMXbgck=", "1:2hSqmsDZ2kdcY9kbiUzOEBic0iM="}},
	{58, "3ffe:501:1800:2345::2", "3ffe:507:0:1:200:86ff:fe05:80da", []uint16{3, 0}, [2]string{"1:2ObVBgIn28oZvibYZhZMBgh7WdQ=", "1:lVEtCZpYu84Xqaa++3lXFyuu2n4="}},
	{58, "3ffe:501:410:0:2c0:dfff:fe47:33e", "3ffe:507:0:1:200:86ff:fe05:80da", []uint16{1, 4}, [2]string{"1:hLZd0XGWojozrvxqE0dWB1iM6R0=", "1:W8MHwXpWzpoSTD+cGcaJr4u0ys8="}},
	{58, "3ffe:507:0:1:200:86ff:fe05:80da", "3ffe:501:0:1001::2", []uint16{128, 129}, [2]string{"1:+TW+HtLHvV1xnGhV1lv7XoJrqQg=", "1:GfZxjAkDk2MkegpBYHV6tadtFXQ="}},
	{58, "3ffe:501:0:1001::2", "3ffe:507:0:1:200:86ff:fe05:80da", []uint16{129, 128}, [2]string{"1:+TW+HtLHvV1xnGhV1lv7XoJrqQg=", "1:GfZxjAkDk2MkegpBYHV6tadtFXQ="}},
	{58, "fe80::200:86ff:fe05:80da", "ff02::2", []uint16{133, 134}, [2]string{"1:hO+sN4H+MG5MY/8hIrXPqc4ZQz0=", "1:L7Ka0ZMYu+J3bL4ulW2PrqyXNo8="}},
	{58, "fe80::260:97ff:fe07:69ea", "ff02::1", []uint16{134, 133}, [2]string{"1:pkvHqCL88/tg1k4cPigmZXUtL00=", "1:K/ee5UCqAMAQXDorP5nSa2CGLjc="}},
	{1, "192.168.0.89", "192.168.0.1", []uint16{8, 0}, [2]string{"1:X0snYXpgwiv9TZtqg64sgzUn6Dk=", "1:03g6IloqVBdcZlPyX8r0hgoE7kA="}},
	{1, "192.168.0.1", "192.168.0.89", []uint16{0, 8}, [2]string{"1:X0snYXpgwiv9TZtqg64sgzUn6Dk=", "1:03g6IloqVBdcZlPyX8r0hgoE7kA="}},
	{1, "10.0.0.1", "10.0.0.2", []uint16{11, 0}, [2]string{"1:YHxtAirCG//0OzkcVAukqKQN9xM=", "1:XjUibYHaafLQ3pxQeiMI8g25q20="}},
	{6, "2001:470:e5bf:dead:4957:2174:e82c:4887", "2607:f8b0:400c:c03::1a", []uint16{63943, 25}, [2]string{"1:/qFaeAR+gFe1KYjMzVDsMv+wgU4=", "1:eJYTW6AOzFLlSUoESovMjnu7rMw="}},
	{6, "2607:f8b0:400c:c03::1a", "2001:470:e5bf:dead:4957:2174:e82c:4887", []uint16{25, 63943}, [2]string{"1:/qFaeAR+gFe1KYjMzVDsMv+wgU4=", "1:eJYTW6AOzFLlSUoESovMjnu7rMw="}},
	{132, "192.168.170.8", "192.168.170.56", []uint16{7, 7}, [2]string{"1:MP2EtRCAUIZvTw6MxJHLV7N7JDs=", "1:5w3ZRjeKBzqT3zsaEECDGjUbYeg="}},
	{132, "192.168.170.56", "192.168.170.8", []uint16{7, 7}, [2]string{"1:MP2EtRCAUIZvTw6MxJHLV7N7JDs=", "1:5w3ZRjeKBzqT3zsaEECDGjUbYeg="}},
	{6, "128.232.110.120", "66.35.250.204", []uint16{34855, 80}, [2]string{"1:LQU9qZlK+B5F3KDmev6m5PMibrg=", "1:3V71V58M3Ksw/yuFALMcW0LAHvc="}},
	{6, "66.35.250.204", "128.232.110.120", []uint16{80, 34855}, [2]string{"1:LQU9qZlK+B5F3KDmev6m5PMibrg=", "1:3V71V58M3Ksw/yuFALMcW0LAHvc="}},
	{17, "192.168.1.52", "8.8.8.8", []uint16{54585, 53}, [2]string{"1:d/FP5EW3wiY1vCndhwleRRKHowQ=", "1:Q9We8WO3piVF8yEQBNJF4uiSVrI="}},
	{17, "8.8.8.8", "192.168.1.52", []uint16{53, 54585}, [2]string{"1:d/FP5EW3wiY1vCndhwleRRKHowQ=", "1:Q9We8WO3piVF8yEQBNJF4uiSVrI="}},
	{46, "10.1.12.1", "10.1.12.2", nil, [2]string{"1:KHlLkgoJW7ifUTyTSgyVfkFHzKw=", "1:rYir8gphR31noO9iDRQmF/BteEI="}},
	{46, "10.1.12.2", "10.1.12.1", nil, [2]string{"1:KHlLkgoJW7ifUTyTSgyVfkFHzKw=", "1:rYir8gphR31noO9iDRQmF/BteEI="}},
}

func (v *vector) key() Key {
	k := Key{Proto: v.proto, Has: HasProto, Src: netip.MustParseAddr(v.src), Dst: netip.MustParseAddr(v.dst)}
	switch {
	case v.ports == nil:
	case v.proto == protoICMP || v.proto == protoICMPv6:
		k.Has |= HasICMP
		k.ICMPType = uint8(v.ports[0])
		if _, paired := Counterpart(v.proto, k.ICMPType); !paired {
			k.ICMPCode = uint8(v.ports[1])
		}
	default:
		k.Has |= HasPorts
		k.SrcPort, k.DstPort = v.ports[0], v.ports[1]
	}
	return k
}

func TestCommunityID(t *testing.T) {
	ids := make(map[string]bool)
	for _, v := range vectors {
		k := v.key()
		for seed, want := range v.ids {
			if got := CommunityID(&k, uint16(seed)); got != want {
				t.Errorf("%+v, seed %d: %s", v, seed, got)
			}
		}
		ids[v.ids[0]] = true
	}
	if len(ids) != 14 {
		t.Errorf("%d ids", len(ids))
	}
}

// TestCommunityIDOdd: protocols whose ports are not hashed, the order of ports, and what has none.
func TestCommunityIDOdd(t *testing.T) {
	a, b := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	key := func(proto uint8, has Has) Key {
		return Key{Proto: proto, Has: HasProto | has, Src: a, Dst: b, SrcPort: 2, DstPort: 1}
	}
	without, with := key(protoUDPLite, 0), key(protoUDPLite, HasPorts)
	if CommunityID(&without, 0) != CommunityID(&with, 0) {
		t.Error("UDP-Lite: ports are hashed")
	}
	cut, whole := key(protoTCP, 0), key(protoTCP, HasPorts)
	if CommunityID(&cut, 0) == CommunityID(&whole, 0) {
		t.Error("TCP: ports are not hashed")
	}
	same, back := whole, whole
	same.Dst, back.Dst, back.SrcPort, back.DstPort = a, a, 1, 2
	if CommunityID(&same, 0) != CommunityID(&back, 0) {
		t.Error("equal addresses are not ordered by port")
	}
	redirect := Key{Proto: protoICMP, Has: HasProto | HasICMP, Src: b, Dst: a, ICMPType: 5, ICMPCode: 1}
	reverse := redirect
	reverse.Src, reverse.Dst = a, b
	if CommunityID(&redirect, 0) == CommunityID(&reverse, 0) {
		t.Error("one-way messages are swapped")
	}
	if id := CommunityID(&Key{EtherType: etherARP, Src: a, Dst: b}, 0); id != "" {
		t.Errorf("ARP has %s", id)
	}
}
