package linkwatch

import "encoding/binary"

// The header of a netlink message (netlink(7)) begins with a length of 32 bits and a type of 16
// bits. The other fields are not used.
const (
	netlinkHeader = 16
	netlinkAlign  = 4
	rtmNewLink    = 16 // RTM_NEWLINK
	rtmDelLink    = 17 // RTM_DELLINK
)

// netlinkConcerns reports whether the messages include one about a link. It returns true for
// malformed messages too, because they might hide one.
func netlinkConcerns(buf []byte) bool {
	for len(buf) > 0 {
		if len(buf) < netlinkHeader {
			return true
		}
		length, kind := binary.NativeEndian.Uint32(buf), binary.NativeEndian.Uint16(buf[4:])
		if kind == rtmNewLink || kind == rtmDelLink || length < netlinkHeader {
			return true
		}
		next := (uint64(length) + netlinkAlign - 1) / netlinkAlign * netlinkAlign
		buf = buf[min(next, uint64(len(buf))):]
	}
	return false
}
