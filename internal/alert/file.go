package alert

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"capd/flow"
	"capd/internal/extract"
	"capd/pcap"
	"capd/store"
)

// A frame finds the flows of packets.
type frame struct {
	flow.Frame
	found []int
}

// flows returns the numbers of the flows that a packet belongs to, or carries. They are valid until the next call.
func (f *frame) flows(set *extract.FlowSet, link pcap.LinkType, p *pcap.Packet) []int {
	f.found = f.found[:0]
	f.Parse(link, p.Data)
	for i := range f.N {
		f.found = set.Of(f.found, &f.Layers[i].Key)
	}
	return f.found
}

// A File is a pcapng file of packets. It is open only while it is written to, as there may be thousands at a time.
type File struct {
	path       string    // that it has when it is done
	partial    string    // that it has until then; empty: it has none
	to         io.Writer // in place of a path; nil: none
	buf        []byte
	written    int64
	interfaces map[string]uint32 // numbers, by description
	explained  int               // blocks with names and secrets that it has of the splitter of
	of         *splitter
}

// errAlready says that there is a file of the name.
var errAlready = errors.New("it is there already")

// partialExt is the suffix of a file that is being written.
const partialExt = ".partial"

// newFile makes a file in a directory. If it is there already, only its path is returned with the error.
func newFile(dir, name string) (*File, error) {
	f := &File{path: filepath.Join(dir, name+".pcapng"), interfaces: make(map[string]uint32)}
	f.partial = f.path + partialExt
	if _, err := os.Lstat(f.path); err == nil {
		return f, errAlready
	}
	if err := os.Remove(f.partial); err != nil && !errors.Is(err, fs.ErrNotExist) { // of a process that was killed
		return f, err
	}
	h, err := extract.Make(f.partial)
	if err != nil {
		return f, err
	}
	store.GiveToOwner(h)
	return f, h.Close()
}

// NewFile returns a file of the packets of all answers, that has a path or is written to.
func NewFile(path string, to io.Writer) (*File, error) {
	f := &File{path: path, to: to, interfaces: make(map[string]uint32)}
	if to != nil {
		return f, nil
	}
	h, err := extract.Make(path)
	if err != nil {
		return nil, err
	}
	store.GiveToOwner(h)
	f.to = h
	return f, nil
}

// Begin writes what the file of all answers begins with.
func (f *File) Begin(software, comment string) { f.begin(software, comment) }

// End writes what it ends with: the verdict.
func (f *File) End(a *extract.Answer) error {
	err := f.end(a)
	if h, ok := f.to.(*os.File); ok && f.path != "" {
		err = errors.Join(err, h.Close())
	}
	return err
}

func (f *File) begin(software, comment string) {
	f.buf = pcap.AppendSectionHeader(f.buf, software, comment)
}

// give adds the packet that the splitter's reader returned last.
func (f *File) give(s *splitter, r *pcap.Reader, record []byte, p *pcap.Packet) error {
	if f.of != s {
		f.of, f.explained = s, 0
	}
	for ; f.explained < len(s.explained); f.explained++ {
		f.buf = append(f.buf, s.explained[f.explained]...)
	}
	block := s.described[r.InterfaceID()]
	id, ok := f.interfaces[string(block)]
	if !ok {
		id = uint32(len(f.interfaces))
		f.interfaces[string(block)] = id
		f.buf = append(f.buf, block...)
	}
	f.buf = r.Translator().AppendEnhanced(f.buf, record, p, id)
	if len(f.buf) < flushAt {
		return nil
	}
	return f.flush()
}

// flushAt is how many bytes of a file are written at a time.
const flushAt = 256 << 10

func (f *File) flush() error {
	b := f.buf
	f.buf = f.buf[:0]
	if len(b) == 0 {
		return nil
	}
	f.written += int64(len(b))
	if f.to != nil {
		_, err := f.to.Write(b)
		return err
	}
	h, err := os.OpenFile(f.partial, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = h.Write(b)
	return errors.Join(err, h.Close())
}

// end writes the verdict, and gives the file its name.
func (f *File) end(a *extract.Answer) error {
	f.buf = appendEnd(f.buf, len(f.interfaces) == 0, a)
	err := f.flush()
	f.buf = nil
	if f.partial == "" {
		return err
	}
	if err == nil {
		err = os.Rename(f.partial, f.path)
	}
	return err
}

// appendEnd appends the verdict as statistics, which are of an interface.
func appendEnd(dst []byte, none bool, a *extract.Answer) []byte {
	if none {
		dst = pcap.AppendInterface(dst, &pcap.Interface{LinkType: pcap.LinkTypeEthernet, Snaplen: pcap.MaxSnaplen, Comment: "no interface has packets of the time"})
	}
	return pcap.AppendEnd(dst, time.Now(), a.Packets, a.Comment())
}
