package main

import (
	"capd/filter"
	"capd/pcap"
	"capd/store"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// A filterCommand is what the flags of filter ask for.
type filterCommand struct {
	dumps    int // how often -d was given
	linkType string
	snaplen  uint32
	plain    bool
	live     bool
	read     string
	write    string
	asJSON   bool
}

func newFilter() *cobra.Command {
	var f filterCommand
	cmd := &cobra.Command{
		Use:   "filter [-d|-dd|-ddd] [-O] [-y LINKTYPE] [-s SNAPLEN] [-r FILE [-w FILE]] [EXPRESSION]",
		Short: "Compile a filter, or apply it to a capture file",
		Long: `Print the program of a filter in the formats of tcpdump: disassembled (-d, the
default), as C (-dd) or in decimal (-ddd), as iptables' bpf match takes it. With
-r, count the packets of a capture file that pass, and write them with -w; with
-d too, print the program for the file's link type. The file may be compressed
with zstd or gzip. Without an EXPRESSION all packets pass.

--json prints an object with what -r counts: packets, and how many of them
passed.`,
		Example: `  capd filter -d 'tcp port 80'
  capd filter -ddd -y RAW 'ip6'
  capd filter -r eth0.pcapng -w web.pcapng 'tcp port 80 or 443'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			expr := strings.Join(args, " ")
			switch {
			case f.dumps > 3:
				return usageError{errors.New("filter: -d may be given three times at the most")}
			case f.write != "" && f.dumps > 0:
				return usageError{errors.New("filter: -d prints the program, -w applies it: one of them")}
			case f.asJSON && (f.read == "" || f.dumps > 0):
				return usageError{errors.New("filter: --json is for what -r counts")}
			case f.read != "" && f.dumps == 0:
				return f.apply(cmd.OutOrStdout(), newScreen(cmd.ErrOrStderr()), expr)
			case f.write != "":
				return usageError{errors.New("filter: -w needs -r: the file to read packets from")}
			}
			return perhapsFile(f.dump(cmd.OutOrStdout(), expr), args)
		},
	}
	fl := cmd.Flags()
	fl.CountVarP(&f.dumps, "dump", "d", "print the program: ``-d disassembled, -dd as C, -ddd in decimal")
	fl.StringVarP(&f.linkType, "link-type", "y", "ETHERNET", "compile for `LINKTYPE`, a name or number of tcpdump.org's list")
	fl.Uint32VarP(&f.snaplen, "snaplen", "s", filter.DefaultSnaplen, "the program returns `N` for a packet that passes")
	fl.BoolVarP(&f.plain, "no-optimize", "O", false, "print the program as it is before it is made shorter")
	fl.BoolVar(&f.live, "live", false, "compile for a Linux packet socket, where the VLAN tag is beside the frame")
	fl.StringVarP(&f.read, "read", "r", "", "read packets from `FILE`")
	fl.StringVarP(&f.write, "write", "w", "", "write those that pass to `FILE`, which must not exist")
	fl.BoolVar(&f.asJSON, "json", false, "with -r: print a JSON object")
	return cmd
}

func (f *filterCommand) dump(w io.Writer, expr string) error {
	link, err := pcap.ParseLinkType(f.linkType)
	if err != nil {
		return usageError{err}
	}
	if f.read != "" {
		if link, err = fileLinkType(f.read); err != nil {
			return err
		}
	}
	p, err := filter.Compile(expr, filter.Target{LinkType: filter.LinkType(link), Snaplen: f.snaplen, Live: f.live, Unoptimized: f.plain})
	if err != nil {
		return err
	}
	text := p.String
	switch f.dumps {
	case 2:
		text = p.C
	case 3:
		text = p.Decimal
	}
	_, err = io.WriteString(w, text())
	return err
}

// fileLinkType returns the link type of a file's first packet, or of the file
// if it has none.
func fileLinkType(path string) (pcap.LinkType, error) {
	in, err := openToRead(path)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	src, err := uncompressed(in)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", quoted(path), err)
	}
	rd, err := pcap.NewReader(src)
	if err == nil {
		if _, err = rd.Next(); err == io.EOF {
			err = nil
		}
	}
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", quoted(path), err)
	}
	return rd.Interface().LinkType, nil
}

// apply counts the packets of a file that pass, and writes them to another.
func (f *filterCommand) apply(w io.Writer, screen *screen, expr string) error {
	in, err := openToRead(f.read)
	if err != nil {
		return err
	}
	defer in.Close()
	p := newProgress(screen, filepath.Base(f.read), sizeOf(f.read))
	defer p.end()
	src, err := uncompressed(p.reader(in))
	if err != nil {
		return fmt.Errorf("read %s: %w", quoted(f.read), err)
	}
	rd, err := pcap.NewReader(src)
	if err != nil {
		return fmt.Errorf("read %s: %w", quoted(f.read), err)
	}
	s := sieve{expr: expr, programs: newPrograms(expr)}
	if f.write != "" {
		if s.out, err = os.OpenFile(f.write, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640); err != nil {
			return &writeError{err}
		}
	}
	err = s.run(rd)
	p.end()
	if err = errors.Join(err, s.close()); err != nil {
		return fmt.Errorf("filter %s: after %s: %w", quoted(f.read), plural(s.seen, "packet"), err)
	}
	if f.asJSON {
		return printJSON(w, passedJSON{s.seen, s.passed})
	}
	_, err = fmt.Fprintf(w, "%d of %s passed\n", s.passed, plural(s.seen, "packet"))
	return err
}

// passedJSON is what filter -r --json prints.
type passedJSON struct {
	Packets uint64 `json:"packets"`
	Passed  uint64 `json:"passed"`
}

// A writeError is returned where -w can't begin its file.
type writeError struct{ error }

func (e *writeError) Unwrap() error { return e.error }

func (e *writeError) hints() []string {
	switch {
	case errors.Is(e, fs.ErrExist):
		return []string{"no file is replaced: name another with -w, or move this one away first"}
	case errors.Is(e, fs.ErrNotExist):
		return []string{"create the directory of the file first"}
	}
	return directoryHints(e)
}

// An unreadable is an error of opening a capture file.
type unreadable struct{ *fs.PathError }

func (u unreadable) Unwrap() error { return u.PathError }

func openToRead(path string) (*os.File, error) {
	h, err := os.Open(path)
	var p *fs.PathError
	if errors.As(err, &p) {
		return nil, unreadable{p}
	}
	if err != nil {
		return nil, err
	}
	if info, err := h.Stat(); err == nil && info.IsDir() {
		h.Close()
		return nil, unreadable{&fs.PathError{Op: "read", Path: path, Err: syscall.EISDIR}}
	}
	return h, nil
}

// hints says what to do about it.
func (u unreadable) hints() []string {
	finished, isPartial := strings.CutSuffix(u.Path, store.Partial)
	switch {
	case errors.Is(u, fs.ErrNotExist) && isPartial:
		for _, ext := range []string{"", store.Zstd.Ext(), store.Gzip.Ext()} {
			if sizeOf(finished+ext) > 0 {
				return []string{"it is finished by now: " + quoted(finished+ext)}
			}
		}
	case errors.Is(u, fs.ErrPermission):
		return []string{"recordings belong to the user and group that record: join the group, or use sudo"}
	case errors.Is(u, syscall.EISDIR):
		return []string{"name a capture file in it; capd list DIR says which there are of capd's"}
	case errors.Is(u, fs.ErrNotExist) && u.Path == "-":
		return []string{"standard input has the name /dev/stdin here"}
	}
	return nil
}

// programs are a filter's, by link type.
type programs struct {
	expr   string
	byLink map[pcap.LinkType]*filter.Program
}

func newPrograms(expr string) *programs {
	return &programs{expr: expr, byLink: make(map[pcap.LinkType]*filter.Program)}
}

// match says whether a packet of a file passes.
func (s *programs) match(link pcap.LinkType, p *pcap.Packet) (bool, error) {
	prog := s.byLink[link]
	if prog == nil {
		var err error
		if prog, err = filter.Compile(s.expr, filter.Target{LinkType: filter.LinkType(link)}); err != nil {
			return false, err
		}
		s.byLink[link] = prog
	}
	return prog.Match(p.Data, int(p.Length), nil) > 0, nil
}

// A sieve lets packets through that a filter takes.
type sieve struct {
	expr         string
	programs     *programs
	out          *os.File // nil: only count
	enc          *pcap.Encoder
	link         pcap.LinkType // of enc
	buf          []byte
	seen, passed uint64
}

func (s *sieve) run(rd *pcap.Reader) error {
	for {
		p, err := rd.Next()
		if err == io.EOF {
			return s.flush(rd)
		}
		if err != nil {
			return errors.Join(err, s.flush(rd))
		}
		s.seen++
		passes, err := s.programs.match(rd.Interface().LinkType, &p)
		if err != nil {
			return err
		}
		if !passes {
			continue
		}
		s.passed++
		if s.out != nil {
			if err := s.put(rd, p); err != nil {
				return err
			}
		}
	}
}

// flushAt is how many bytes are written at a time.
const flushAt = 1 << 20

// put encodes a packet in the format of the file that it is from.
func (s *sieve) put(rd *pcap.Reader, p pcap.Packet) error {
	if err := s.begin(rd); err != nil {
		return err
	}
	if len(s.buf)+s.enc.MaxRecord() > cap(s.buf) {
		if err := s.flush(rd); err != nil {
			return err
		}
	}
	n, _ := s.enc.Encode(s.buf[len(s.buf):cap(s.buf)], []pcap.Packet{p})
	s.buf = s.buf[:len(s.buf)+n]
	return nil
}

// begin writes the header, as of the first interface. One file has one link
// type here.
func (s *sieve) begin(rd *pcap.Reader) error {
	i := rd.Interface()
	if s.enc == nil {
		s.enc = pcap.NewEncoder(pcap.Header{
			Format: rd.Format(), LinkType: i.LinkType, Interface: i.Name, Filter: s.expr, Application: "capd " + version(),
		})
		s.link = i.LinkType
		s.buf = append(make([]byte, 0, flushAt+s.enc.MaxRecord()), s.enc.Header()...)
	}
	if i.LinkType != s.link {
		return fmt.Errorf("packets of link types %s and %s can't go into one file: filter them apart", s.link, i.LinkType)
	}
	return nil
}

// close ends the file; one into which nothing was put by a failure goes again.
func (s *sieve) close() error {
	if s.out == nil {
		return nil
	}
	err := s.out.Close()
	if s.enc == nil {
		err = errors.Join(err, os.Remove(s.out.Name()))
	}
	return err
}

func (s *sieve) flush(rd *pcap.Reader) error {
	if s.out == nil {
		return nil
	}
	if err := s.begin(rd); err != nil { // a file without packets has a header
		return err
	}
	_, err := s.out.Write(s.buf)
	s.buf = s.buf[:0]
	return err
}
