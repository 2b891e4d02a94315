package afpacket

import "unsafe"

// Layout of struct tpacket_auxdata (linux/if_packet.h), in host byte order.
const (
	auxStatus = 0  // u32: TP_STATUS_
	auxLength = 4  // u32: bytes on the wire
	auxNet    = 14 // u16: offset of what follows the link layer's header
	auxTCI    = 16 // u16
	auxTPID   = 18 // u16
	auxLen    = 20
)

// wordLen is the size of a size_t and of a long.
const wordLen = int(unsafe.Sizeof(uintptr(0)))

// cmsgHeader is the size of struct cmsghdr: a size_t and two ints.
const cmsgHeader = wordLen + 8

// kinds are the levels and types of the control messages that parseControl evaluates. The kernel's
// numbers for them depend on the architecture.
type kinds struct {
	socket, timestamp int32 // SOL_SOCKET, SO_TIMESTAMPNS
	packet, aux       int32 // SOL_PACKET, PACKET_AUXDATA
}

// auxData is the kernel's metadata of a received frame.
type auxData struct {
	tag
	length    uint32 // bytes on the wire
	net       uint16 // bytes of the link layer's header
	timed     bool
	sec, nsec uint32
}

// parseControl parses the control messages of recvmsg(2). It skips unknown and malformed ones: the
// frame is usable without them.
func parseControl(b []byte, k kinds) auxData {
	var a auxData
	for len(b) >= cmsgHeader {
		size := word(b)
		if size < uint64(cmsgHeader) || size > uint64(len(b)) {
			return a
		}
		level, kind := int32(host.Uint32(b[wordLen:])), int32(host.Uint32(b[wordLen+4:]))
		data := b[cmsgHeader:size]
		switch {
		case level == k.packet && kind == k.aux && len(data) >= auxLen:
			a.length, a.net = host.Uint32(data[auxLength:]), host.Uint16(data[auxNet:])
			a.tag = tag{host.Uint32(data[auxStatus:]), host.Uint16(data[auxTCI:]), host.Uint16(data[auxTPID:])}
		case level == k.socket && kind == k.timestamp && len(data) >= 2*wordLen:
			sec, nsec := word(data), word(data[wordLen:])
			if nsec < 1e9 {
				a.sec, a.nsec, a.timed = uint32(sec), uint32(nsec), true
			}
		}
		next := (int(size) + wordLen - 1) &^ (wordLen - 1)
		b = b[min(next, len(b)):]
	}
	return a
}

// word reads a size_t or a long.
func word(b []byte) uint64 {
	if wordLen == 4 {
		return uint64(host.Uint32(b))
	}
	return host.Uint64(b)
}
