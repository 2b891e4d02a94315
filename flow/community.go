package flow

import (
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
)

// CommunityID returns the flow's Community ID of version 1, as other tools print it, with a seed, which is 0 unless somebody
// chose another; "" if the flow has no addresses of IP. Both directions of a flow have the same. VLANs are not in it, and a
// fragment without ports has that of the flow without ports.
// The specification is https://github.com/corelight/community-id-spec.
func CommunityID(k *Key, seed uint16) string {
	if !k.Src.IsValid() || !k.has(HasProto) {
		return ""
	}
	id, _ := k.identify()
	var buf [2 + 2*16 + 2 + 4]byte
	b := binary.BigEndian.AppendUint16(buf[:0], seed)
	for _, n := range [][2]uint64{id.a, id.b} {
		b = append(b, id.addr(n).AsSlice()...)
	}
	b = append(b, k.Proto, 0)
	if k.has(HasICMP) || k.has(HasPorts) && (k.Proto == protoTCP || k.Proto == protoUDP || k.Proto == protoSCTP) {
		b = binary.BigEndian.AppendUint32(b, uint32(id.ports))
	}
	sum := sha1.Sum(b)
	return "1:" + base64.StdEncoding.EncodeToString(sum[:])
}
