package decode

import (
	"encoding/binary"

	"capd/pcap"
)

// sum adds the 16-bit words of b to a sum of the Internet checksum, folded.
func sum(start uint32, b []byte) uint32 {
	s := uint64(start)
	for len(b) >= 4 {
		s += uint64(binary.BigEndian.Uint32(b))
		b = b[4:]
	}
	if len(b) >= 2 {
		s += uint64(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		s += uint64(b[0]) << 8
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint32(s)
}

// pseudo is what the checksums of transport protocols cover besides their own
// bytes.
type pseudo struct {
	addresses uint32
	fragment  bool // the transport's message is not whole
}

// plainSum checks the sum over a message alone.
func (s *sink) plainSum(x data) Checksum {
	if !x.whole() || s.pseudo.fragment {
		return ChecksumUnknown
	}
	return s.verdict(sum(0, x.b) == 0xffff)
}

// checksum checks the sum over a message with its pseudo header. A system that
// leaves the rest to the NIC puts the sum over that header alone in its place:
// such packets are recognized even where the capture has no flag for them.
func (s *sink) checksum(x data, proto uint8, check uint16) Checksum {
	if !x.whole() || s.pseudo.fragment {
		return ChecksumUnknown
	}
	partial := sum(s.pseudo.addresses, []byte{0, proto, byte(x.n >> 24), byte(x.n >> 16), byte(x.n >> 8), byte(x.n)})
	c := s.verdict(sum(partial, x.b) == 0xffff)
	if c == ChecksumWrong && uint32(check) == partial {
		return ChecksumNotYet
	}
	return c
}

// verdict is the state of a checksum. A wrong one may be one that the NIC has
// still to fill in.
func (s *sink) verdict(right bool) Checksum {
	switch {
	case right:
		return ChecksumRight
	case s.flags&pcap.FlagChecksumNotReady != 0:
		return ChecksumNotYet
	}
	return ChecksumWrong
}
