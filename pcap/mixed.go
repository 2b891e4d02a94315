package pcap

// A Described is the set of interfaces that a file of LinkTypeMixed describes so far. The zero value is that of a file that
// begins.
type Described struct {
	ids  map[*Interface]uint32
	last *Interface // of the packet written last
	id   uint32     // of last

	anew bool // what the file describes is not known: the next description begins a section
}

// Anew forgets what the file describes, as when another process goes on with it.
func (d *Described) Anew() { *d = Described{anew: true} }

// find returns the number of the interface in the file.
func (d *Described) find(i *Interface) (id uint32, ok bool) {
	if i == d.last && len(d.ids) > 0 {
		return d.id, true
	}
	if id, ok = d.ids[i]; ok {
		d.last, d.id = i, id
	}
	return id, ok
}

// add gives the interface the next number.
func (d *Described) add(i *Interface) {
	if d.ids == nil {
		d.ids = make(map[*Interface]uint32)
	}
	d.last, d.id = i, uint32(len(d.ids))
	d.ids[i] = d.id
	d.anew = false
}

// EncodeMixed is Encode for files of any link type. Of LinkTypeMixed it writes an interface description block before the first
// packet of each interface, together with that packet or not at all, and adds the interface to d.
func (e *Encoder) EncodeMixed(dst []byte, pkts []Packet, d *Described) (n, packets int) {
	if e.mixed == nil {
		return e.Encode(dst, pkts)
	}
	for packets < len(pkts) {
		from := pkts[packets].From
		id, known := d.find(from)
		if !known {
			size := e.introduce(dst[n:], pkts[packets:packets+1], d)
			if size == 0 {
				return n, packets
			}
			d.add(from)
			n += size
			packets++
			continue
		}
		end := packets + 1
		for end < len(pkts) && pkts[end].From == from {
			end++
		}
		size, count := encodePCAPNG(dst[n:], pkts[packets:end], e.snaplen, id)
		n += size
		packets += count
		if packets < end {
			return n, packets
		}
	}
	return n, packets
}

// introduce writes the description of the one packet's interface, and the packet. It returns 0 if both do not fit.
func (e *Encoder) introduce(dst []byte, one []Packet, d *Described) int {
	block := append(e.section(d), e.describe(one[0].From)...)
	if len(block) > len(dst) {
		return 0
	}
	n, count := encodePCAPNG(dst[len(block):], one, e.snaplen, uint32(len(d.ids)))
	if count == 0 {
		return 0
	}
	return copy(dst, block) + n
}

// section returns the header of a section, if one is to begin.
func (e *Encoder) section(d *Described) []byte {
	if d.anew {
		return e.Header()
	}
	return nil
}

// maxName is how many bytes are written of an interface's name, and of the comment on it.
const maxName = 255

// describe returns the block for an interface; nil stands for a file without packets. It has the most common link type then,
// which all programs know.
func (e *Encoder) describe(i *Interface) []byte {
	h := *e.mixed
	if i == nil {
		h.LinkType = LinkTypeEthernet
		return appendInterface(nil, &h, "")
	}
	h.LinkType, h.Interface, h.MAC, h.Speed, h.Description = i.LinkType, cut(i.Name, maxName), i.MAC, i.Speed, ""
	return appendInterface(nil, &h, cut(i.Comment, maxName))
}

// maxDescription returns the size in bytes of the largest description.
func (e *Encoder) maxDescription() int {
	if e.mixed == nil {
		return 0
	}
	h := *e.mixed
	const texts, address, speed = 2 * (4 + maxName + 1), 4 + 8, 4 + 8
	return len(e.header) + len(appendInterface(nil, &h, "")) + texts + address + speed
}

// TrailerMixed is Trailer for files of any link type. Of LinkTypeMixed the statistics are of all interfaces together, and stand
// for the first; a file without packets gets a description of an interface for that.
func (e *Encoder) TrailerMixed(dst []byte, s Statistics, d *Described) []byte {
	if e.mixed == nil {
		return e.Trailer(dst, s)
	}
	if len(d.ids) == 0 {
		dst = append(append(dst, e.section(d)...), e.describe(nil)...)
	}
	if s.Comment == "" {
		s.Comment = "counts of all interfaces together"
	}
	return e.Trailer(dst, s)
}

// CommonLinkType returns the link type of the interfaces of a file; LinkTypeMixed if they have several.
func CommonLinkType(all []Interface) LinkType {
	for i := range all {
		if all[i].LinkType != all[0].LinkType {
			return LinkTypeMixed
		}
	}
	return all[0].LinkType
}
