package index

import (
	"encoding/binary"
	"hash/crc32"
	"io"
	"net/netip"
	"slices"

	"capd/filter"
	"capd/flow"
	"capd/pcap"
)

// A keyKind is what a key is made of. The numbers are in files.
type keyKind uint64

const (
	kindAddr     keyKind = iota + 1
	kindNet              // address under a mask of one of netBits
	kindPort             // a port, and that it is of TCP, UDP or SCTP
	kindAddrPort         // an address and a port of one flow, of whichever ends
	kindEnds             // both addresses of a flow
	kindProto
	kindTypeProto // Ethernet type and protocol of IP
	kindEtherType
	kindVLAN
	kindID // Community ID
)

// anyVLAN is the key of a flow with any tag.
const anyVLAN = 1 << 12

// netBits are the lengths of the prefixes that are keys.
var netBits = [2][]int{{24, 20, 16, 12, 8}, {64, 56, 48, 40, 32}} // of IPv4, IPv6

// An open says of which keys a table may have any, as a row does not know what its frames have.
type open uint8

const (
	openAddr open = 1 << iota
	openPort
	openProto
	openEtherType
	openVLAN
	openFlow // a row may have frames of flows that it does not name
)

// mixed is the finalizer of splitmix64.
func mixed(h uint64) uint64 {
	h ^= h >> 30
	h *= 0xbf58476d1ce4e5b9
	h ^= h >> 27
	h *= 0x94d049bb133111eb
	return h ^ h>>31
}

func (k keyKind) hash(words ...uint64) uint64 {
	h := mixed(uint64(k) * 0x9e3779b97f4a7c15)
	for _, w := range words {
		h = mixed(h + w + 0x9e3779b97f4a7c15)
	}
	return h
}

func hashAddr(kind keyKind, a netip.Addr, more ...uint64) uint64 {
	b := a.As16()
	return kind.hash(append([]uint64{binary.BigEndian.Uint64(b[:]), binary.BigEndian.Uint64(b[8:])}, more...)...)
}

func hashNet(p netip.Prefix) uint64 { return hashAddr(kindNet, p.Addr(), uint64(p.Bits())) }

// hashEnds is the same for both orders.
func hashEnds(a, b netip.Addr) uint64 {
	if b.Less(a) {
		a, b = b, a
	}
	return kindEnds.hash(hashAddr(kindAddr, a), hashAddr(kindAddr, b))
}

func hashID(id string) uint64 {
	var words [5]uint64
	var b [40]byte
	copy(b[:], id)
	for i := range words {
		words[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
	return kindID.hash(words[:]...)
}

// A keySet collects the keys of a table's rows.
type keySet struct {
	open   open
	hashes []uint64
	sorted int // so many are sorted, and each is there once
	links  []pcap.LinkType
	f      filter.Flow
}

func (s *keySet) put(h uint64) {
	s.hashes = append(s.hashes, h)
	if len(s.hashes) >= 2*s.sorted+1<<16 {
		s.compact()
	}
}

func (s *keySet) compact() {
	slices.Sort(s.hashes)
	s.hashes = slices.Compact(s.hashes)
	s.sorted = len(s.hashes)
}

// add adds the keys of a row.
func (s *keySet) add(r *flow.Row) {
	if r.Unlisted || r.Cut > 0 && (r.Marks&(flow.Short|flow.LaterFragment) != 0 || r.EtherType == 0) {
		s.open |= openFlow
	}
	if r.Src.IsValid() && r.Dst.IsValid() {
		s.put(hashEnds(r.Src, r.Dst))
		if id := flow.CommunityID(&r.Key, 0); id != "" {
			s.put(hashID(id))
		}
	}
	if r.Inner() {
		return
	}
	if r.Has&flow.HasInterface != 0 && !slices.Contains(s.links, r.Link) {
		s.links = append(s.links, r.Link)
	}
	r.Facts(&s.f)
	addrs := s.addrs()
	s.ports(addrs)
	s.numbers()
}

// none is a key that only a flow has of which the field is not known.
func none(kind filter.KeyKind) filter.Key { return filter.Key{Kind: kind, Low: 1} }

func (s *keySet) addrs() (all []netip.Addr) {
	f := &s.f
	if none(filter.KeyNet).In(f) {
		s.open |= openAddr
		return nil
	}
	if !f.A.Addr.IsValid() {
		return nil
	}
	all = []netip.Addr{f.A.Addr, f.B.Addr}
	for _, a := range all {
		s.put(hashAddr(kindAddr, a))
		for _, bits := range netBits[family(a)] {
			if p, err := a.Prefix(bits); err == nil {
				s.put(hashNet(p))
			}
		}
	}
	return all
}

func family(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

func (s *keySet) ports(addrs []netip.Addr) {
	f := &s.f
	if none(filter.KeyPort).In(f) {
		s.open |= openPort
		return
	}
	if f.A.Has&f.B.Has&filter.HasPort == 0 {
		return
	}
	for _, port := range [...]uint16{f.A.Port, f.B.Port} {
		s.put(kindPort.hash(uint64(f.Protocol), uint64(port)))
		for _, a := range addrs {
			s.put(hashAddr(kindAddrPort, a, uint64(port)))
		}
	}
}

func (s *keySet) numbers() {
	f := &s.f
	if none(filter.KeyProtocol).In(f) {
		s.open |= openProto
	}
	if f.Has&filter.HasProtocol != 0 {
		s.put(kindProto.hash(uint64(f.Protocol)))
		s.put(kindTypeProto.hash(uint64(f.EtherType), uint64(f.Protocol)))
	}
	const ip, ip6, unused = 0x0800, 0x86dd, 0xfffe
	for _, t := range [...]uint16{ip, ip6, f.EtherType, unused} {
		switch {
		case !(filter.Key{Kind: filter.KeyEtherType, Low: t, High: t}).In(f):
		case t == unused && f.EtherType != t:
			s.open |= openEtherType
		default:
			s.put(kindEtherType.hash(uint64(t)))
		}
	}
	if none(filter.KeyVLAN).In(f) {
		s.open |= openVLAN
	}
	for _, id := range f.VLANs {
		s.put(kindVLAN.hash(uint64(id)))
		s.put(kindVLAN.hash(anyVLAN))
	}
}

// The filter of a table is blocks of blockSize bytes: bits, and a checksum over them, the number of the block and of all blocks,
// keyBits, and the checksum of the table. So a block that is damaged, or of another table or version, is found out when it is read alone. A key has
// keyBits bits, all in one block.
const (
	blockSize   = 64
	blockBits   = 8 * (blockSize - 4)
	keyBits     = 8
	bitsPerKey  = 16
	maxKeyBytes = 8 << 20 // of a filter; more keys make it less sharp
	maxKeyPart  = 128     // of the capture file, which floods reach
	minKeyBytes = 64 << 10
)

// filter returns the filter of the table with a checksum, of a capture file of so many bytes.
func (s *keySet) filter(checksum uint32, length int64) []byte {
	s.compact()
	blocks := (len(s.hashes)*bitsPerKey + blockBits - 1) / blockBits
	blocks = min(blocks, int(min(maxKeyBytes, max(minKeyBytes, length/maxKeyPart)))/blockSize)
	b := make([]byte, blocks*blockSize)
	for _, h := range s.hashes {
		h = inTable(h, checksum)
		block := b[blockOf(h, blocks)*blockSize:]
		for bit := range bitsOf(h) {
			block[bit/8] |= 1 << (bit % 8)
		}
	}
	for i := range blocks {
		block := b[i*blockSize:][:blockSize]
		binary.LittleEndian.PutUint32(block[blockSize-4:], blockSum(block, checksum, i, blocks))
	}
	return b
}

// inTable makes the key another one in each table, so that none is hard to tell in all of them.
func inTable(h uint64, checksum uint32) uint64 { return mixed(h ^ uint64(checksum)<<32) }

func blockOf(h uint64, blocks int) int { return int(h >> 32 * uint64(blocks) >> 32) }

// bitsOf calls each for the bits of a key in its block.
func bitsOf(h uint64) func(each func(int) bool) {
	return func(each func(int) bool) {
		g := mixed(h)
		for range keyBits {
			if !each(int(g % blockBits)) {
				return
			}
			g /= blockBits
		}
	}
}

func blockSum(block []byte, checksum uint32, i, blocks int) uint32 {
	var seed [13]byte
	binary.LittleEndian.PutUint32(seed[:], checksum)
	binary.LittleEndian.PutUint32(seed[4:], uint32(i))
	binary.LittleEndian.PutUint32(seed[8:], uint32(blocks))
	seed[12] = keyBits
	castagnoli := crc32.MakeTable(crc32.Castagnoli)
	return crc32.Update(crc32.Checksum(seed[:], castagnoli), castagnoli, block[:blockSize-4])
}

func isBlock(block []byte, checksum uint32, i, blocks int) bool {
	return binary.LittleEndian.Uint32(block[blockSize-4:]) == blockSum(block, checksum, i, blocks)
}

// A keyFilter is where the filter of a table is in the file of filters, and what it can't tell.
type keyFilter struct {
	At     int64           `json:"at"`
	Blocks int             `json:"blocks"`
	Open   open            `json:"open"`
	Links  []pcap.LinkType `json:"links"` // of rows
}

// A keyReader asks the filter of a table. What is in doubt is taken for possible.
type keyReader struct {
	*keyFilter
	file     io.ReaderAt
	checksum uint32 // of the table
	read     int64
}

// may reports whether the table may have a key.
func (k *keyReader) may(h uint64) bool {
	if k.Blocks == 0 {
		return false
	}
	var block [blockSize]byte
	h = inTable(h, k.checksum)
	i := blockOf(h, k.Blocks)
	n, err := k.file.ReadAt(block[:], k.At+int64(i)*blockSize)
	k.read += int64(n)
	if err != nil || !isBlock(block[:], k.checksum, i, k.Blocks) {
		return true
	}
	for bit := range bitsOf(h) {
		if block[bit/8]>>(bit%8)&1 == 0 {
			return false
		}
	}
	return true
}

// maxJoined is how many keys are asked for in pairs.
const maxJoined = 8

// has reports whether the table may have a flow with all keys.
func (k *keyReader) has(keys []filter.Key) bool {
	var addrs []netip.Addr
	var ports, protos, types []uint16
	for _, key := range keys {
		one := key.Low == key.High
		switch {
		case key.Kind == filter.KeyNet && key.Net.IsSingleIP():
			addrs = appendNew(addrs, key.Net.Addr())
		case key.Kind == filter.KeyPort && one:
			ports = appendNew(ports, key.Low)
		case key.Kind == filter.KeyProtocol && one:
			protos = appendNew(protos, key.Low)
		case key.Kind == filter.KeyEtherType && one:
			types = appendNew(types, key.Low)
		}
	}
	return !slices.ContainsFunc(keys, func(key filter.Key) bool { return !k.hasOne(key, protos) }) &&
		k.hasTypes(types, protos) && (k.Open&openAddr != 0 || k.hasAddrs(addrs, ports))
}

func appendNew[T comparable](all []T, v T) []T {
	if len(all) == maxJoined || slices.Contains(all, v) {
		return all
	}
	return append(all, v)
}

// hasTypes reports whether the table may have a flow of all Ethernet types and protocols of IP.
func (k *keyReader) hasTypes(types, protos []uint16) bool {
	if k.Open&(openEtherType|openProto) != 0 {
		return true
	}
	for _, t := range types {
		for _, p := range protos {
			if !k.may(kindTypeProto.hash(uint64(t), uint64(p))) {
				return false
			}
		}
	}
	return true
}

// hasAddrs reports whether the table may have a flow with all addresses and ports.
func (k *keyReader) hasAddrs(addrs []netip.Addr, ports []uint16) bool {
	for i, a := range addrs {
		for _, b := range addrs[:i] {
			if !k.may(hashEnds(a, b)) {
				return false
			}
		}
		for _, p := range ports {
			if k.Open&openPort == 0 && !k.may(hashAddr(kindAddrPort, a, uint64(p))) {
				return false
			}
		}
	}
	return true
}

// mostPorts is how many ports of a range are asked for one by one.
const mostPorts = 8

// hasOne reports whether the table may have a flow with a key, and of one of the protocols if there are any.
func (k *keyReader) hasOne(key filter.Key, protos []uint16) bool {
	kind, unknown := keyKind(0), open(0)
	switch key.Kind {
	case filter.KeyNet:
		return k.Open&openAddr != 0 || k.hasNet(key.Net)
	case filter.KeyPort:
		return k.Open&openPort != 0 || k.hasPort(key, protos)
	case filter.KeyProtocol:
		kind, unknown = kindProto, openProto
	case filter.KeyEtherType:
		kind, unknown = kindEtherType, openEtherType
	case filter.KeyVLAN:
		kind, unknown = kindVLAN, openVLAN
		if key.Low != key.High {
			return k.Open&unknown != 0 || k.may(kind.hash(anyVLAN))
		}
	}
	return k.Open&unknown != 0 || key.Low != key.High || k.may(kind.hash(uint64(key.Low)))
}

func (k *keyReader) hasPort(key filter.Key, protos []uint16) bool {
	if key.High-key.Low >= mostPorts {
		return true
	}
	if len(protos) == 0 {
		protos = []uint16{6, 17, 132}
	}
	for port := uint64(key.Low); port <= uint64(key.High); port++ {
		if slices.ContainsFunc(protos, func(p uint16) bool { return k.may(kindPort.hash(uint64(p), port)) }) {
			return true
		}
	}
	return false
}

func (k *keyReader) hasNet(p netip.Prefix) bool {
	if p.IsSingleIP() && !k.may(hashAddr(kindAddr, p.Addr())) {
		return false
	}
	for _, bits := range netBits[family(p.Addr())] {
		if bits <= p.Bits() {
			wider, err := p.Addr().Prefix(bits)
			return err != nil || k.may(hashNet(wider))
		}
	}
	return true
}

// hasFlow reports whether the table may have one of the flows, in a tunnel or not.
func (k *keyReader) hasFlow(flows []FlowKey) bool {
	return k.Open&openFlow != 0 || slices.ContainsFunc(flows, func(f FlowKey) bool {
		if f.CommunityID != "" {
			return k.may(hashID(f.CommunityID))
		}
		return k.may(hashEnds(f.A, f.B))
	})
}
