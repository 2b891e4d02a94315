package extract

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strings"
	"time"

	"capd/internal/text"
	"capd/pcap"
)

// A merged file has packets of many files: in pcapng one section, in which each interface is described once.
type merged struct {
	out        Output
	software   string
	interfaces map[string]uint32 // by description
	explained  map[[sha256.Size]byte]bool

	// Of pcap.
	encoder *pcap.Encoder // nil before the first packet
	link    pcap.LinkType
	of      string // interface of the first packet
}

func newMerged(out Output, software string) merged {
	return merged{out: out, software: software, interfaces: make(map[string]uint32), explained: make(map[[sha256.Size]byte]bool)}
}

// header returns what the file begins with.
func (m *merged) header(comment string) ([]byte, error) {
	if m.out.Format == pcap.PCAP {
		return nil, nil
	}
	return pcap.AppendSectionHeader(nil, m.software, comment), nil
}

// end returns what the file ends with.
func (m *merged) end(a *Answer) ([]byte, error) {
	if m.out.Format == pcap.PCAP {
		if m.encoder == nil {
			m.begin(pcap.LinkTypeEthernet)
			return m.encoder.Header(), nil
		}
		return nil, nil
	}
	var dst []byte
	if len(m.interfaces) == 0 { // statistics are of an interface
		dst = pcap.AppendInterface(dst, &pcap.Interface{LinkType: pcap.LinkTypeEthernet, Snaplen: pcap.MaxSnaplen, Comment: "no interface has packets of the time"})
	}
	return pcap.AppendEnd(dst, time.Now(), a.Packets, a.Comment()), nil
}

// Comment is the verdict as a file has it in its last block.
func (a *Answer) Comment() string {
	var b strings.Builder
	fmt.Fprintf(&b, "verdict: %s: %s", a.Word(), text.Count(a.Packets, "packet"))
	if !a.Since.IsZero() {
		fmt.Fprintf(&b, " of what was recorded from %s to %s", text.Time(a.Since), text.Time(a.Until))
	}
	b.WriteString("\n")
	appendMissing(&b, a.Missing)
	return strings.TrimSuffix(b.String(), "\n")
}

func (m *merged) begin(link pcap.LinkType) {
	m.link = link
	m.encoder = pcap.NewEncoder(pcap.Header{Format: pcap.PCAP, Micro: m.out.Micro, LinkType: link})
}

// describe keeps what the file needs to know before further packets of the source, given a record of it that has no packet, or nil
// when it begins. It is written before the first packet that is found, so that an answer does not depend on which files had to be
// read to know that there is none in them.
func (s *stream) describe(record []byte) error {
	m := &s.x.file
	comment := ""
	if len(s.x.question.Directories) > 1 {
		comment = "from " + s.Directory
	}
	switch {
	case s.x.out == nil || m.out.Format == pcap.PCAP:
		return nil
	case record == nil && s.file.Format() == pcap.PCAP:
		of := s.file.Interface()
		of.Name, of.Comment = s.Interface, comment
		if s.Contents != nil {
			of.Filter = s.Filter
		}
		s.interfaces = append(s.interfaces, described{block: pcap.AppendInterface(nil, &of)})
	case record == nil:
	case s.file.Translator().Describes(record):
		s.interfaces = append(s.interfaces, described{block: s.file.Translator().AppendDescription(nil, record, comment)})
	case s.file.Translator().Explains(record) && !m.explained[sha256.Sum256(record)]:
		s.explain = append(s.explain, bytes.Clone(record))
		if s.kept += len(record); s.kept > maxExplained {
			return s.explained()
		}
	}
	return nil
}

// maxExplained is how many bytes of names and secrets wait for a packet.
const maxExplained = 1 << 20

// A described interface is one of a source.
type described struct {
	block []byte // that describes it; nil: it has a number
	id    uint32 // in the new file
}

// explained writes the names and secrets that were read.
func (s *stream) explained() error {
	m := &s.x.file
	for _, block := range s.explain {
		if sum := sha256.Sum256(block); !m.explained[sum] {
			m.explained[sum] = true
			if err := s.x.write(block, nil); err != nil {
				return err
			}
		}
	}
	s.explain, s.kept = nil, 0
	return nil
}

// id returns the number that the interface of the last packet has in the new file, which has all then that the packet needs.
func (s *stream) id() (uint32, error) {
	m, d := &s.x.file, &s.interfaces[s.file.InterfaceID()]
	if len(s.explain) > 0 {
		if err := s.explained(); err != nil {
			return 0, err
		}
	}
	if d.block == nil {
		return d.id, nil
	}
	block, key := d.block, s.Directory+"\x00"+string(d.block)
	d.block = nil
	id, ok := m.interfaces[key]
	if d.id = id; ok {
		return id, nil
	}
	d.id = uint32(len(m.interfaces))
	m.interfaces[key] = d.id
	return d.id, s.x.write(block, nil)
}

// encode appends the packet that was read last as it is to be written.
func (x *extraction) encode(dst []byte, s *stream, record []byte, p *pcap.Packet) ([]byte, error) {
	m := &x.file
	switch {
	case x.out == nil:
		return dst, nil
	case m.out.Format == pcap.PCAPNG:
		id, err := s.id()
		if err != nil {
			return dst, err
		}
		return s.file.Translator().AppendEnhanced(dst, record, p, id), nil
	}
	of := s.file.Interface()
	if m.encoder == nil {
		m.begin(of.LinkType)
		m.of = s.Interface
		if err := x.write(m.encoder.Header(), nil); err != nil {
			return dst, err
		}
	}
	if of.LinkType != m.link {
		err := &linksError{fmt.Errorf("packets of %s are %v and those of %s %v, and a pcap file has one link type",
			text.Name(m.of), m.link, text.Name(s.Interface), of.LinkType)}
		x.fail(err)
		return dst, err
	}
	n := len(dst)
	dst = append(dst, make([]byte, 16+len(p.Data))...)
	m.encoder.Encode(dst[n:], []pcap.Packet{*p})
	return dst, nil
}

// A linksError says why packets can't go into a pcap file.
type linksError struct{ error }

// Hints says what to do about it.
func (e *linksError) Hints() []string {
	return []string{"pcapng, the format without --format, takes packets of all link types; or -i chooses interfaces"}
}
