package pcap

// An oddity is what is odd about a record of PCAP: a set of the values below.
// Tools do write odd records, and mostly the same way throughout a file.
type oddity uint8

const (
	oddFraction oddity = 1 << iota // more than a second of sub-seconds
	oddOrder                       // more is captured than there was
	oddEmpty                       // nothing is captured
	oddHuge                        // longer than any packet
	oddFar                         // far in time from the packets before

	oddHabits = oddFraction | oddOrder | oddEmpty // those that a tool has in all records
)

// nearby is how many seconds may lie between a packet and the next, so that
// the time speaks for the record.
const nearby = 24 * 60 * 60

// oddity returns what is odd about a record but its time; 0 is nothing.
func (h header) oddity(iface *Interface) (odd oddity) {
	if uint64(h.frac) >= iface.units {
		odd |= oddFraction
	}
	if h.captured > h.length {
		odd |= oddOrder
	}
	if h.captured == 0 {
		odd |= oddEmpty
	}
	if h.length > maxBlock {
		odd |= oddHuge
	}
	return odd
}

// near says whether one packet may follow another of the time, if that is not 0.
func near(before, sec uint32) bool {
	gap := int64(sec) - int64(before)
	return before == 0 || -nearby < gap && gap < nearby
}

// usual says whether a header of PCAP is as most are.
func (h header) usual(iface *Interface) bool {
	return h.oddity(iface) == 0 && h.captured <= iface.limit()
}

// agrees says whether the two lengths of a record of PCAP confirm each other:
// all of the packet was captured, or as much as the file says.
func (h header) agrees(iface *Interface) bool {
	return h.captured == h.length || h.captured < h.length && h.captured == iface.Snaplen
}

// knownBlock says whether blocks of the type are written by tools.
func knownBlock(kind uint32) bool {
	const custom, customNotCopied = 0x0bad, 0x40000bad
	return 0 < kind && kind <= blockDSB || kind == blockSHB || kind == custom || kind == customNotCopied
}

// knownOption says whether an option of a block has a code and a length that
// tools write.
func knownOption(kind uint32, code uint16, n int) bool {
	switch code {
	case optComment:
		return true
	case 2988, 2989, 19372, 19373: // custom, by an enterprise number
		return n >= 4
	}
	if code >= 0x8000 {
		return true // local use
	}
	lengths := map[uint32][]int{ // from code 2 on; 0 is any
		blockSHB: {0, 0, 0},
		blockIDB: {0, 0, 8, 17, 6, 8, 8, 1, 4, 0, 0, 1, 8, 0, 8, 8, 4},
		blockISB: {8, 8, 8, 8, 8, 8, 8},
		blockEPB: {4, 0, 8, 8, 4, 0},
		blockOPB: {4, 0},
		blockNRB: {0, 4, 16},
	}[kind]
	i := int(code) - 2
	return 0 <= i && i < len(lengths) && (lengths[i] == 0 || lengths[i] == n)
}

// optionsEnd says where the list of options at the beginning of b ends, which
// may go on behind b. It is not ok if they are none.
func (d *decoder) optionsEnd(kind uint32, b []byte) (end int, ok bool) {
	for len(b)-end >= 4 {
		code, n := d.u16(b[end:]), int(d.u16(b[end+2:]))
		end += 4 + pad4(n)
		if code == optEnd {
			return end, n == 0
		}
		if !knownOption(kind, code, n) {
			return 0, false
		}
	}
	return max(end, len(b)), true
}
