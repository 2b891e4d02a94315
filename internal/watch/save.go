package watch

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"capd/capture"
	"capd/internal/extract"
	"capd/internal/sandbox"
	"capd/internal/text"
	"capd/pcap"
)

// A saver writes what is shown to a pcapng file. Records of pcapng files are
// written as they are, in sections of their own. Other packets get a section with a
// block for each interface, written as its first packet comes.
type saver struct {
	name    string
	out     io.Writer
	made    *os.File // out, if it is a file that was made for this
	section pcap.Header

	buf     []byte
	whole   int64 // bytes written, all of whole records
	packets uint64
	blocks  map[savedInterface]savedBlock // of the section that was begun
	head    []byte                        // what describes it and them
	first   savedInterface                // of them
}

// A savedInterface has a block of its own.
type savedInterface struct {
	name string
	link pcap.LinkType
}

// none is what has a block in a file without packets: of the link type that all
// programs know.
var none = savedInterface{link: pcap.LinkTypeEthernet}

type savedBlock struct {
	number  uint32
	encoder *pcap.Encoder
}

// newSaver makes the file, which must not exist; - is standard output. The header
// is that of sections and interfaces.
func newSaver(path string, stdout io.Writer, h pcap.Header) (*saver, error) {
	h.Format, h.Snaplen = pcap.PCAPNG, cmp.Or(h.Snaplen, pcap.MaxSnaplen)
	if path == "-" {
		return &saver{name: "standard output", out: stdout, section: h, first: none}, nil
	}
	s := &saver{name: text.Name(path), section: h, first: none}
	var err error
	if s.made, err = extract.Make(path); err != nil {
		return nil, err
	}
	s.out = s.made
	return s, nil
}

// give gives the file that was made to the user.
func (s *saver) give(user *sandbox.Account) error {
	if s == nil || s.made == nil || user.Current() {
		return nil
	}
	return s.made.Chown(user.UID, user.GID)
}

// add writes a packet: its record, if it has one.
func (s *saver) add(o *origin, p *pcap.Packet, record []byte) {
	s.packets++
	if record != nil {
		s.block(record)
	} else {
		s.packet(o, p)
	}
}

// begin begins a section, of which the bytes are given if it is that of a file.
func (s *saver) begin(section []byte) {
	s.buf = append(s.buf, section...)
	s.blocks = nil
}

// block writes a record of a pcapng file.
func (s *saver) block(record []byte) { s.buf = append(s.buf, record...) }

// packet writes a packet of an interface.
func (s *saver) packet(o *origin, p *pcap.Packet) {
	b := s.on(o)
	if s.section.Format == pcap.PCAPNG && !p.HasTime() && s.simple(b, p) {
		return
	}
	at := len(s.buf)
	s.buf = append(s.buf, make([]byte, len(p.Data)+64)...) // a block has less besides the data
	n, _ := b.encoder.Encode(s.buf[at:], []pcap.Packet{*p})
	s.buf = s.buf[:at+n]
	if s.section.Format == pcap.PCAP {
		return
	}
	binary.LittleEndian.PutUint32(s.buf[at+8:], b.number)
	if !p.HasTime() && p.Flags == 0 { // no options yet
		s.comment(at, "the capture time is unknown")
	}
}

// comment adds the block's options, which begins there and ends the buffer.
func (s *saver) comment(at int, text string) {
	le := binary.LittleEndian
	s.buf = le.AppendUint16(s.buf[:len(s.buf)-4], 1) // opt_comment
	s.buf = append(le.AppendUint16(s.buf, uint16(len(text))), text...)
	s.buf = append(s.buf, make([]byte, -len(text)&3+4)...) // with opt_endofopt
	size := uint32(len(s.buf) - at + 4)
	le.PutUint32(s.buf[at+4:], size)
	s.buf = le.AppendUint32(s.buf, size)
}

// simple writes a packet without a time as what pcapng has for that, a simple
// packet block, which Wireshark shows without a time. It says of the first
// interface's packets alone, and not how much was captured of one, but by the
// interface's snaplen.
func (s *saver) simple(b savedBlock, p *pcap.Packet) bool {
	const kind, besides = 3, 16
	snaplen := s.section.Snaplen
	if b.number != 0 || len(p.Data) != int(min(p.Length, snaplen)) {
		return false
	}
	le := binary.LittleEndian
	padded := len(p.Data) + -len(p.Data)&3
	s.buf = le.AppendUint32(s.buf, kind)
	s.buf = le.AppendUint32(s.buf, uint32(besides+padded))
	s.buf = le.AppendUint32(s.buf, p.Length)
	s.buf = append(append(s.buf, p.Data...), make([]byte, padded-len(p.Data))...)
	s.buf = le.AppendUint32(s.buf, uint32(besides+padded))
	return true
}

// on returns the block of an interface, written if it was not yet.
func (s *saver) on(o *origin) savedBlock {
	key := savedInterface{o.saved, o.link}
	if b, ok := s.blocks[key]; ok {
		return b
	}
	h := s.section
	h.Interface, h.LinkType = key.name, key.link
	b := savedBlock{uint32(len(s.blocks)), pcap.NewEncoder(h)}
	header := b.encoder.Header()
	switch {
	case s.blocks == nil:
		s.blocks, s.first, s.head = make(map[savedInterface]savedBlock), key, nil
	case s.section.Format == pcap.PCAP: // which has no more than one header
		header = nil
	default:
		header = header[pcap.SectionSize(header):]
	}
	s.blocks[key] = b
	s.buf, s.head = append(s.buf, header...), append(s.head, header...)
	return b
}

// statistics writes the counts of an interface, or of all together: these stand
// for the first one.
func (s *saver) statistics(o *origin, counts pcap.Statistics) {
	if s.section.Format == pcap.PCAP {
		return
	}
	if o.name == capture.Any {
		counts.Comment = "counts of all interfaces together"
		o = &origin{saved: s.first.name, link: s.first.link}
	}
	b := s.on(o)
	at := len(s.buf)
	s.buf = b.encoder.Trailer(s.buf, counts)
	binary.LittleEndian.PutUint32(s.buf[at+8:], b.number)
}

// unwritten returns how many bytes are not written yet.
func (s *saver) unwritten() int {
	if s == nil {
		return 0
	}
	return len(s.buf)
}

// flush writes what is left. After an error the file ends where it was whole.
func (s *saver) flush() error {
	if len(s.buf) == 0 {
		return nil
	}
	_, err := s.out.Write(s.buf)
	if err == nil {
		s.whole += int64(len(s.buf))
	} else if s.made != nil {
		err = errors.Join(fmt.Errorf("%w: it ends with the last packet that was written whole", err), s.made.Truncate(s.whole))
	}
	s.buf = s.buf[:0]
	return err
}

// end ends the file. One that has no packets because of a failure is removed.
func (s *saver) end(failed bool) error {
	err := s.flush()
	if s.made == nil {
		return err
	}
	err = errors.Join(err, s.made.Close())
	if (failed || err != nil) && (s.packets == 0 || s.whole == 0) {
		err = errors.Join(err, os.Remove(s.made.Name()))
	}
	return err
}
