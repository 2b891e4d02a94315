package pcap

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// A CorruptError says that a file is damaged, not just cut short.
type CorruptError struct {
	Offset int64 // where the damaged record begins, in bytes
	Reason string
}

// Error says where and why.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("corrupt at byte %d: %s", e.Offset, e.Reason)
}

// A Reader reads the packets of a capture file: pcap of either byte order in
// micro- or nanoseconds, or pcapng with all its sections and interfaces. It
// skips blocks it does not know. Its memory is bounded, whatever the file
// claims.
type Reader struct {
	src        io.Reader
	dec        decoder
	buf        []byte
	start, end int   // of what is in buf and not parsed yet
	off        int64 // of buf[start] in the file
	extent     int   // size that the damaged record claims
	empty      int   // records of zeros at buf[start] that are packets
	err        error // that ended it
}

// NewReader returns a reader of the file in src, whose header it reads.
func NewReader(src io.Reader) (*Reader, error) {
	return newReader(src, 0, decoder{}, 64<<10)
}

// newReader returns a reader from the offset off on, where src stands. It
// reads the file's header if dec has not seen it.
func newReader(src io.Reader, off int64, dec decoder, size int) (*Reader, error) {
	r := &Reader{src: src, off: off, dec: dec, buf: make([]byte, size)}
	if dec.started {
		return r, nil
	}
	if _, err := r.advance(); err == io.EOF {
		r.err = fmt.Errorf("empty file: %w", io.ErrUnexpectedEOF)
	}
	return r, r.err
}

// Next returns the next packet. Its Data is valid until the next call. At the
// end of the file the error is io.EOF; it wraps io.ErrUnexpectedEOF if the
// last record is cut short or zeros follow it, and is a *CorruptError where
// the file is damaged.
func (r *Reader) Next() (Packet, error) {
	for {
		_, p, err := r.NextRecord()
		if err != nil {
			return Packet{}, err
		}
		if p != nil {
			return *p, nil
		}
	}
}

// Format returns the file's format.
func (r *Reader) Format() Format { return r.dec.format }

// Interface returns the interface of the packet that Next returned last, or,
// before the first, the file's first interface if it is known yet.
func (r *Reader) Interface() Interface {
	if r.dec.iface >= len(r.dec.ifaces) {
		return Interface{}
	}
	return r.dec.ifaces[r.dec.iface]
}

// Interfaces returns the interfaces that the present section has described so far. They are the Reader's.
func (r *Reader) Interfaces() []Interface { return r.dec.ifaces }

// InterfaceID returns the number of that interface, counted from 0 over all
// sections of the file.
func (r *Reader) InterfaceID() int { return r.dec.earlier + r.dec.iface }

// Offset returns where the last whole record ends, in bytes.
func (r *Reader) Offset() int64 { return r.off }

// Jump goes on with the record at an offset of the file, where the source stands now. The interfaces that were read stay known;
// what was read ahead is forgotten, and the end that was met too.
func (r *Reader) Jump(offset int64) { r.start, r.end, r.off, r.empty, r.err = 0, 0, offset, 0, nil }

// BeginSize is how many bytes Begins needs to see.
const BeginSize = pcapRecordSize + 8

// Begins returns the size of the record that begins with b, by what the file has said so far, and false if none of at most so many
// bytes can. A block of PCAPNG may be of another section, with another byte order.
func (r *Reader) Begins(b []byte, most int64) (size int, ok bool) {
	const block = 12 // bytes that the lengths of a block need
	if len(b) < block {
		return 0, false
	}
	d := r.dec
	if d.format == PCAP {
		size, _, reason := d.step(b)
		return size, reason == "" && int64(size) <= most
	}
	for range 2 {
		if size, _, reason := d.step(b[:block]); reason == "" && int64(size) <= most {
			return size, true
		}
		d.big = !d.big
	}
	return 0, false
}

// advance consumes one record and says whether it was a packet.
func (r *Reader) advance() (packet bool, err error) {
	for r.err == nil {
		if r.empty > 0 {
			r.empty--
			r.dec.iface, r.dec.header, r.dec.packet = 0, header{}, Packet{}
			r.start += r.dec.head
			r.off += int64(r.dec.head)
			return true, nil
		}
		b := r.buf[r.start:r.end]
		size, packet, reason := r.dec.step(b)
		switch {
		case reason == zeroTail:
			r.extent = size
			if r.empty, r.err = r.emptyRecords(); r.empty == 0 && r.err == nil {
				r.err = r.zeros()
			}
		case reason != "":
			r.extent = size
			r.err = &CorruptError{Offset: r.off, Reason: reason}
		case len(b) < size:
			r.err = r.fill(size)
		default:
			r.start += size
			r.off += int64(size)
			return packet, nil
		}
	}
	return false, r.err
}

// fill reads more of a record of the size.
func (r *Reader) fill(size int) error {
	if len(r.buf)-r.start < size {
		r.makeRoom(size)
	}
	for range 100 { // as bufio, against a source that reads nothing for ever
		n, err := r.src.Read(r.buf[r.end:])
		r.end += n
		switch {
		case n > 0:
			return nil
		case err == io.EOF && r.start == r.end:
			return io.EOF
		case err == io.EOF:
			r.extent = size
			return fmt.Errorf("torn record at byte %d: %w", r.off, io.ErrUnexpectedEOF)
		case err != nil:
			return fmt.Errorf("read at byte %d: %w", r.off+int64(r.end-r.start), err)
		}
	}
	return io.ErrNoProgress
}

// makeRoom moves what is not parsed yet to the front of the buffer. If that is
// full, it grows, but only to twice what the file did have: the size is a
// claim.
func (r *Reader) makeRoom(size int) {
	to := r.buf
	if r.end-r.start == len(r.buf) {
		to = make([]byte, min(2*len(r.buf), max(size, len(r.buf)+1)))
	}
	r.end = copy(to, r.buf[r.start:r.end])
	r.start, r.buf = 0, to
}

// emptyRecords returns how many records of zeros begin here: packets of no
// length, which some tools write. Those are few and have a record of the usual
// kind behind them, or the file's end.
func (r *Reader) emptyRecords() (n int, err error) {
	if !r.dec.started || r.dec.format != PCAP {
		return 0, nil
	}
	head := r.dec.head
	b, err := r.peek((maxEmpty + 1) * head)
	if err != nil {
		return 0, err
	}
	for n < maxEmpty && len(b) >= head && allZero(b[:head]) {
		n++
		b = b[head:]
	}
	r.extent = head
	switch {
	case len(b) >= head && !r.dec.parseHeader(b).usual(&r.dec.ifaces[0]), 0 < len(b) && len(b) < head && allZero(b):
		return 0, nil
	}
	return n, nil
}

// peek returns so many bytes of what is not parsed yet, or all that is left.
func (r *Reader) peek(n int) ([]byte, error) {
	for r.end-r.start < n {
		if err := r.fill(n); err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		} else if err != nil {
			return nil, err
		}
	}
	return r.buf[r.start:min(r.end, r.start+n)], nil
}

// zeros reads on to see whether there are only zeros up to the end.
func (r *Reader) zeros() error {
	if !allZero(r.buf[r.start:r.end]) {
		return &CorruptError{Offset: r.off, Reason: "zeros before other bytes"}
	}
	for {
		r.start, r.end = 0, 0
		err := r.fill(0)
		switch {
		case err == io.EOF:
			return fmt.Errorf("zeros from byte %d on: %w", r.off, io.ErrUnexpectedEOF)
		case err != nil:
			return err
		case !allZero(r.buf[:r.end]):
			return &CorruptError{Offset: r.off, Reason: "zeros before other bytes"}
		}
	}
}

// IsDamage reports whether an error is about the file's bytes, not about reading
// them.
func IsDamage(err error) bool {
	var corrupt *CorruptError
	return errors.As(err, &corrupt) || errors.Is(err, io.ErrUnexpectedEOF)
}

func allZero(b []byte) bool {
	var zero [4096]byte
	for len(b) > len(zero) {
		if !bytes.Equal(b[:len(zero)], zero[:]) {
			return false
		}
		b = b[len(zero):]
	}
	return bytes.Equal(b, zero[:len(b)])
}
