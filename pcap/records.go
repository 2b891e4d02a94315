package pcap

// Header returns the bytes of the file's first record: the header of PCAP, the section header block of PCAPNG. They are
// valid until the first call of Next or NextRecord.
func (r *Reader) Header() []byte { return r.buf[:r.start] }

// NextRecord consumes the next record, whatever it is: of PCAP a packet, of PCAPNG any block. It returns the record's
// bytes, as the file has them, and its packet, or nil if it has none. Both are valid until the next call. Errors are those of Next.
func (r *Reader) NextRecord() (record []byte, packet *Packet, err error) {
	if size := r.dec.quick(r.buf[r.start:r.end]); size > 0 && r.err == nil {
		record = r.buf[r.start : r.start+size]
		r.start += size
		r.off += int64(size)
		return record, &r.dec.packet, nil
	}
	before := r.off
	is, err := r.advance()
	if err != nil {
		return nil, nil, err
	}
	record = r.buf[r.start-int(r.off-before) : r.start]
	if is {
		packet = &r.dec.packet
	}
	return record, packet, nil
}

// BigEndian reports whether the numbers in the file, or in its section read last, are big endian.
func (r *Reader) BigEndian() bool { return r.dec.big }

// Blocks and options that only some tools know. What is "not copied" belongs to the file that it is in, and must not
// come into a changed copy (draft-ietf-opsawg-pcapng, sections 3.5.1 and 4.7).
const (
	blockCustomNotCopied = 0x40000bad

	optCustomTextNotCopied = 19372
	optCustomNotCopied     = 19373
)

// AppendChanged appends a block of PCAPNG that NextRecord returned, or Header, as a copy of the file has it that lacks
// some of the packets: all of it, but no custom block or option that must not be copied. A section header names no
// length, which would be wrong, and gets the comment, after those that it has.
func (t Translator) AppendChanged(dst, block []byte, comment string) []byte {
	c := changer{&t.r.dec}
	switch kind := t.r.dec.u32(block); {
	case kind == blockCustomNotCopied:
		return dst
	case kind == blockSHB:
		return c.appendSection(dst, block, comment)
	default:
		body := block[8 : len(block)-4]
		opts, ok := c.optionsAt(kind, body)
		if !ok || opts >= len(body) || !c.hasNotCopied(body[opts:]) {
			return append(dst, block...)
		}
		start := len(dst)
		dst = c.appendCopied(append(dst, block[:8+opts]...), body[opts:])
		return c.closeBlock(dst, start)
	}
}

// A changer makes blocks of a changed copy, in the byte order that its decoder has read last.
type changer struct{ d *decoder }

// optionsAt returns where the options begin in the body of a block, if it is of a kind that has them at a known place.
func (c changer) optionsAt(kind uint32, body []byte) (int, bool) {
	const nameResolution, secrets = 4, 10
	switch {
	case kind == blockIDB && len(body) >= 8:
		return 8, true
	case kind == blockISB && len(body) >= 12:
		return 12, true
	case (kind == blockEPB || kind == blockOPB) && len(body) >= 20:
		return c.behind(20, c.d.u32(body[12:]), body)
	case kind == secrets && len(body) >= 8:
		return c.behind(8, c.d.u32(body[4:]), body)
	case kind == nameResolution:
		return c.behindNames(body)
	}
	return 0, false
}

// behind returns where n bytes of data from the place end, with what fills them up to a multiple of 4.
func (c changer) behind(at int, n uint32, body []byte) (int, bool) {
	if uint64(n) > uint64(len(body)-at) {
		return 0, false
	}
	return at + pad4(int(n)), true
}

// behindNames returns where the records of a name resolution block end.
func (c changer) behindNames(body []byte) (int, bool) {
	at := 0
	for len(body)-at >= 4 {
		kind, n := c.d.u16(body[at:]), int(c.d.u16(body[at+2:]))
		if at += 4 + pad4(n); kind == 0 {
			return at, true
		}
	}
	return 0, false
}

// hasNotCopied reports whether there is an option among those that must not be copied.
func (c changer) hasNotCopied(opts []byte) (has bool) {
	for len(opts) >= 4 {
		code, n := c.d.u16(opts), 4+pad4(int(c.d.u16(opts[2:])))
		switch {
		case code == optEnd || n > len(opts):
			return false
		case code == optCustomTextNotCopied || code == optCustomNotCopied:
			return true
		}
		opts = opts[n:]
	}
	return false
}

// appendCopied appends options without those that must not be copied. What is no option is left as it is.
func (c changer) appendCopied(dst, opts []byte) []byte {
	for len(opts) >= 4 {
		code, n := c.d.u16(opts), 4+pad4(int(c.d.u16(opts[2:])))
		if code == optEnd || n > len(opts) {
			break
		}
		if code != optCustomTextNotCopied && code != optCustomNotCopied {
			dst = append(dst, opts[:n]...)
		}
		opts = opts[n:]
	}
	return append(dst, opts...)
}

// appendSection is AppendChanged for a section header.
func (c changer) appendSection(dst, block []byte, comment string) []byte {
	const opts = 24 // behind type, length, byte order, version and the section's length
	start := len(dst)
	dst = append(dst, block[:opts-8]...)
	for range 8 {
		dst = append(dst, 0xff) // an unknown length
	}
	old := c.appendCopied(nil, block[opts:len(block)-4])
	end := c.optionsEndAt(old)
	dst = append(dst, old[:end]...)
	dst = c.appendText(dst, optComment, comment)
	if end < len(old) {
		dst = append(dst, old[end:]...)
	} else {
		dst = c.append16(dst, optEnd, 0)
	}
	return c.closeBlock(dst, start)
}

// optionsEndAt returns where the end of the options stands, or could: 0 if what is there are no options.
func (c changer) optionsEndAt(opts []byte) int {
	at := 0
	for len(opts)-at >= 4 {
		code, n := c.d.u16(opts[at:]), 4+pad4(int(c.d.u16(opts[at+2:])))
		switch {
		case code == optEnd:
			return at
		case n > len(opts)-at:
			return 0
		}
		at += n
	}
	return at
}

// appendText appends an option of UTF-8 text in the file's byte order.
func (c changer) appendText(dst []byte, code uint16, text string) []byte {
	text = cut(text, 1<<15)
	dst = append(c.append16(dst, code, uint16(len(text))), text...)
	return append(dst, make([]byte, pad4(len(text))-len(text))...)
}

func (c changer) append16(dst []byte, numbers ...uint16) []byte {
	for _, n := range numbers {
		if c.d.big {
			dst = append(dst, byte(n>>8), byte(n))
		} else {
			dst = append(dst, byte(n), byte(n>>8))
		}
	}
	return dst
}

// closeBlock writes the length of the block that begins at b[start:], to both its ends.
func (c changer) closeBlock(b []byte, start int) []byte {
	size := uint32(len(b) - start + 4)
	high, low := uint16(size>>16), uint16(size)
	if !c.d.big {
		high, low = low, high
	}
	c.append16(b[start+4:start+4], high, low)
	return c.append16(b, high, low)
}
