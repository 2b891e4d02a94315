package read

import (
	"errors"
	"io"
	"math"
	"os"

	"capd/internal/frames"
	"capd/pcap"
)

// A Part is a part of a capture file, not compressed, that has whole records: the first begins at Begin, and the last ends at End.
type Part struct{ Begin, End int64 }

// headStep is how many bytes are read at a time before the first packet: most files have less there.
const headStep = 4 << 10

// readAhead is how many bytes of a part the system is told to read at a time.
const readAhead = 1 << 20

// A parted reads parts of a file. It reads no byte behind a part, so that it costs no more than the parts do.
type parted struct {
	src   io.ReaderAt
	h     *os.File // to say what will be read; nil: the file is compressed
	left  []Part   // those that were not begun
	head  bool     // before the first packet
	at    int64    // of the next byte
	end   int64    // of the part
	ahead int64    // up to where the system was told to read

	held   bool // a record of the head waits for next
	record []byte
}

// newParted reads parts of a file, or nil if they can't be read, of a compressed one.
func newParted(h *os.File, o Options) (p *parted, src io.Reader) {
	p = &parted{src: h, h: h, left: o.Parts, head: true, end: math.MaxInt64}
	var magic [4]byte
	if _, err := h.ReadAt(magic[:], 0); err == nil && frames.Compressed(magic[:]) {
		packed, ok := frames.Open(throughAt{h, o})
		if !ok {
			return nil, h
		}
		p.src, p.h = packed, nil
		return p, p
	}
	readsParts(h)
	return p, through(p, o)
}

// Read reads what the parser asks for, up to the end of the part.
func (p *parted) Read(b []byte) (int, error) {
	if p.head {
		b = b[:min(len(b), headStep)]
	}
	if left := p.end - p.at; int64(len(b)) > left {
		b = b[:left]
	}
	if len(b) == 0 {
		return 0, io.EOF
	}
	if n := min(readAhead, p.end-p.ahead); !p.head && n > 0 && p.h != nil && p.at > p.ahead-readAhead/2 {
		willRead(p.h, p.ahead, n)
		p.ahead += n
	}
	n, err := p.src.ReadAt(b, p.at)
	p.at += int64(n)
	if n > 0 {
		err = nil
	}
	return n, err
}

// next returns the next record: those before the first packet, then those of the parts.
func (p *parted) next(parser *pcap.Reader) ([]byte, *pcap.Packet, error) {
	if err := p.seek(parser); err != nil {
		return nil, nil, err
	}
	if p.held {
		p.held = false
		return p.record, nil, nil
	}
	return parser.NextRecord()
}

// seek makes the parser stand at the next record, or holds it if it is one of the head. It returns io.EOF behind the last part.
func (p *parted) seek(parser *pcap.Reader) error {
	if p.held {
		return nil
	}
	at := parser.Offset()
	if p.head {
		if parser.Format() == pcap.PCAPNG { // of pcap the header is all
			record, packet, err := parser.NextRecord()
			switch {
			case err != nil && err != io.EOF:
				return err
			case err == nil && packet == nil:
				p.held, p.record = true, record
				return nil
			}
		}
		p.head, p.end = false, at
	}
	for at >= p.end {
		if len(p.left) == 0 {
			return io.EOF
		}
		if p.packed() {
			if _, err := p.check(parser, p.left[0]); err != nil {
				return err
			}
		}
		begin := max(at, p.left[0].Begin) // the head may have been in it
		p.end, p.left = p.left[0].End, p.left[1:]
		if begin < p.end {
			at, p.at, p.ahead = begin, begin, begin
			parser.Jump(begin)
		}
	}
	return nil
}

// Parted reports whether only parts are read: of a compressed file they may not be there to be found.
func (f *File) Parted() bool { return f.parts != nil }

// Position returns where the next record begins that NextRecord gives of a file of which only parts are read; behind the last one it
// is past every offset.
func (f *File) Position() int64 {
	switch err := f.parts.seek(f.parser); {
	case err == io.EOF:
		return math.MaxInt64
	case err != nil, !f.parts.held:
		return f.parser.Offset()
	}
	return f.parser.Offset() - int64(len(f.parts.record))
}

// Offset returns where the last record that NextRecord gave ends.
func (f *File) Offset() int64 { return f.parser.Offset() }

// ErrParts says that parts are not of this file.
var ErrParts = errors.New("no record begins where a part does")

// checkedRecords is how many records of a part are looked at: what looks like one by chance leads nowhere.
const checkedRecords = 3

// Check looks at where the parts begin, before any was read: an error says that they are not of this file. read is how many
// bytes it has read. Of a compressed file, each part is looked at when it is about to be read, as to look is to decompress: NextRecord
// returns ErrParts then.
func (f *File) Check(parts []Part) (read int64, err error) {
	if err := f.begin(); err != nil {
		return 0, f.failed(err)
	}
	if f.parts.packed() {
		return 0, nil
	}
	for _, part := range parts {
		n, err := f.parts.check(f.parser, part)
		if read += n; err != nil {
			return read, f.failed(err)
		}
	}
	return read, nil
}

// check looks at the begin of a part, or behind the head of the file if that has been in it.
func (p *parted) check(parser *pcap.Reader, part Part) (read int64, err error) {
	var b [pcap.BeginSize]byte
	at := max(part.Begin, parser.Offset())
	for i := 0; i < checkedRecords && at < part.End; i++ {
		n, err := p.src.ReadAt(b[:min(int64(len(b)), part.End-at)], at)
		read += int64(n)
		if err != nil && err != io.EOF {
			return read, err
		}
		size, ok := parser.Begins(b[:n], part.End-at)
		if !ok {
			return read, ErrParts
		}
		at += int64(size)
	}
	return read, nil
}

// packed reports whether the file is compressed.
func (p *parted) packed() bool { return p.h == nil }

// Whole reads all of the file from its begin on, of which only parts were read so far. Of one that grows it is what is whole.
func (f *File) Whole() error {
	f.parser, f.parts, f.seen = nil, nil, 0
	if f.open.Growing {
		f.grown = &grown{h: &content{File: f.h}, limit: f.Size()}
		f.src = through(f.grown, f.open)
		return nil
	}
	f.src = through(f.h, f.open)
	_, err := f.h.Seek(0, io.SeekStart)
	return err
}
