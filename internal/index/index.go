// Package index makes and finds the flow tables of capture files, and answers questions from them.
//
// The table of NAME, NAME.zst or NAME.gz is NAME.flows.parquet. It is made under a temporary name and renamed when it is whole.
// It counts only if every byte of it is as it was written and if it was made from the capture file that is there now: one of
// the same name, size and time, or what capd has made of that by compressing it. Of a file without such a table, the packets
// themselves are read: so a table changes how long an answer takes, and never the answer.
package index

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"capd/crypt"
	"capd/flow"
	"capd/internal/read"
	"capd/internal/text"
	"capd/pcap"
	"capd/store"
)

// captures are the names of capture files, as capd, Wireshark, and tcpdump -C and -W give them.
var captures = regexp.MustCompile(`(?i)\.(pcap|pcapng|cap|dmp)\d*(\.age)?$`)

// TablePath returns the path of the table of a capture file, compressed or not.
func TablePath(path string) string {
	finished, state := store.Cut(path)
	if !state.HasData() {
		finished = path
	}
	return finished + store.Flows.Ext()
}

// Files returns the paths of the finished capture files in a directory, of any tool, by their names. Of a file that is there
// compressed and uncompressed, the uncompressed one is meant.
//
// Encrypted ones are not among them: see ErrEncrypted.
func Files(dir string) ([]string, error) {
	all, err := files(dir, store.WithData())
	return slices.DeleteFunc(all, encrypted), err
}

// encrypted reports whether a file is encrypted, by its name.
func encrypted(path string) bool {
	finished, _ := store.Cut(path)
	return strings.HasSuffix(finished, ".age")
}

// ErrEncrypted is returned by Build for an encrypted file.
var ErrEncrypted = errors.New("encrypted files have no flow tables, which would say who talks to whom")

func files(dir string, states []store.State) ([]string, error) {
	entries, err := store.Entries(dir)
	if err != nil {
		return nil, err
	}
	found := make(map[string]store.State)
	for _, e := range entries {
		finished, state := store.Cut(e.Name())
		if !slices.Contains(states, state) || !e.Type().IsRegular() || !captures.MatchString(finished) {
			continue
		}
		if before, ok := found[finished]; !ok || slices.Index(states, state) < slices.Index(states, before) {
			found[finished] = state
		}
	}
	var all []string
	for finished, state := range found {
		all = append(all, filepath.Join(dir, finished+state.Ext()))
	}
	slices.Sort(all)
	return all, nil
}

// A Built is what is to be said about a table that was made, or was there.
type Built struct {
	File     string      `json:"file"`
	Table    string      `json:"table"`
	Size     int64       `json:"size"` // bytes of the table
	Made     bool        `json:"made"` // false: it was there
	Source   flow.Source `json:"-"`
	Checksum uint32      `json:"-"`

	keys *keySet // nil: they are not known
}

// Errors of Build.
var (
	ErrGrowing = errors.New("it is still written, or its recorder was interrupted: its table is made when it is finished")
	ErrChanged = errors.New("it was changed while it was read")
)

// Build makes the table of a capture file, unless there is one that counts and force is not set. progress gets how many bytes
// of the file were read.
func Build(ctx context.Context, path string, force bool, progress func(int)) (b Built, err error) {
	return build(path, force, func(_ fs.FileInfo, emit func(*flow.Row, string) error) (flow.Source, []flow.Region, error) {
		return scan(ctx, path, nil, progress, nil, emit)
	})
}

// BuildRows is Build without a look at the packets: capd has recorded the file, and has its rows.
func BuildRows(path string, rows *flow.Rows) (b Built, err error) {
	return build(path, false, func(info fs.FileInfo, emit func(*flow.Row, string) error) (s flow.Source, regions []flow.Region, err error) {
		if _, state := store.Cut(path); state != store.Finished || info.Size() != rows.Length {
			return s, nil, ErrChanged
		}
		s.Length, s.Totals = rows.Length, rows.Totals
		regions, err = rows.Each(emit)
		return s, regions, err
	})
}

// A maker gives all rows of a file to a function.
type maker func(info fs.FileInfo, emit func(*flow.Row, string) error) (flow.Source, []flow.Region, error)

func build(path string, force bool, make maker) (b Built, err error) {
	b = Built{File: path, Table: TablePath(path)}
	if _, state := store.Cut(path); state == store.Recording {
		return b, fmt.Errorf("index %s: %w", text.Name(path), ErrGrowing)
	}
	if encrypted(path) {
		return b, fmt.Errorf("index %s: %w", text.Name(path), ErrEncrypted)
	}
	if !force {
		if t, err := Open(path); err == nil {
			defer t.Close()
			b.Size, b.Source, b.Checksum = t.size, t.Source, t.Checksum
			return b, nil
		}
	}
	info, err := os.Stat(path)
	if err != nil {
		return b, err
	}
	if !info.Mode().IsRegular() {
		return b, &fs.PathError{Op: "index", Path: path, Err: errors.New("not a regular file")}
	}
	draft, err := store.NewDraft(b.Table, info.Mode())
	if err != nil {
		return b, err
	}
	if err := b.write(draft.File, info, make); err != nil {
		draft.Discard()
		return b, err
	}
	b.Made = true
	return b, draft.Commit()
}

// write writes the table to a file.
func (b *Built) write(to *os.File, info fs.FileInfo, make maker) error {
	name, _, _ := store.Parse(filepath.Base(b.File))
	w := flow.NewTableWriter(to, name.Lane)
	b.keys = new(keySet)
	s, regions, err := make(info, func(r *flow.Row, iface string) error {
		b.keys.add(r)
		return w.Write(r, iface)
	})
	if err != nil {
		return err
	}
	now, err := os.Stat(b.File)
	if err != nil {
		return err
	}
	if !same(info, now) {
		return fmt.Errorf("index %s: %w", text.Name(b.File), ErrChanged)
	}
	s.File, s.Size, s.Modified = filepath.Base(b.File), info.Size(), info.ModTime().UnixNano()
	b.Source = s
	if b.Checksum, err = w.Close(s, regions); err != nil {
		return err
	}
	b.Size, err = to.Seek(0, io.SeekEnd)
	return err
}

// sizeOf returns the bytes of a file; 0 is not known.
func sizeOf(path string) int64 {
	if info, err := os.Stat(path); err == nil {
		return info.Size()
	}
	return 0
}

func same(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// A keep says whether a packet, which was read last, is asked for.
type keep func(src *read.File, p *pcap.Packet, iface string) bool

// scan makes the rows of a capture file, of all packets if keep is nil. What is wrong in the file itself ends the rows and is in the source; other errors are
// returned.
func scan(ctx context.Context, path string, keys crypt.Identities, progress func(int), keep keep, emit func(*flow.Row, string) error) (s flow.Source, regions []flow.Region, err error) {
	src, err := read.Open(path, read.Options{Identities: keys, Through: func(r io.Reader) io.Reader { return &counted{ctx, r, progress} }})
	if err != nil {
		return s, nil, err
	}
	defer src.Close()
	name, _, _ := store.Parse(filepath.Base(path))
	var b *flow.Builder
	b = flow.NewBuilder(func(r *flow.Row) error {
		if r.Has&flow.HasInterface == 0 {
			return emit(r, "")
		}
		return emit(r, b.InterfaceName(r.Interface))
	})
	header, err := src.Header()
	if err != nil {
		return s, nil, err
	}
	s.Length, err = add(b, src, int64(len(header)), name.Interface, keep)
	switch {
	case err == io.EOF:
	case pcap.IsDamage(err):
		s.Error = err.Error()
	default:
		return s, nil, err
	}
	s.Totals, regions, err = b.Finish(s.Length)
	return s, regions, err
}

// add adds the packets of a file, the first record of which is behind the header, and returns where the last one ends.
// Interfaces without a name have the one in the file's.
func add(b *flow.Builder, src *read.File, at int64, name string, keep keep) (end int64, err error) {
	b.Describe(0)
	last, iface := -1, uint32(0)
	for {
		record, p, err := src.NextRecord()
		if err != nil {
			return at, err
		}
		begin := at
		at += int64(len(record))
		if p == nil {
			if src.Translator().Informs(record) {
				b.Describe(begin)
			}
			last = -1
			continue
		}
		if id := src.InterfaceID(); id != last {
			i := src.Interface()
			if i.Name == "" {
				i.Name = name
			}
			last, iface = id, b.Interface(i.Name, i.LinkType)
		}
		if keep != nil && !keep(src, p, b.InterfaceName(iface)) {
			continue
		}
		if err := b.Add(begin, iface, p); err != nil {
			return at, err
		}
	}
}

// counted reads until the context ends, and says how much.
type counted struct {
	ctx      context.Context
	src      io.Reader
	progress func(int)
}

func (c *counted) Read(b []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.src.Read(b)
	if c.progress != nil {
		c.progress(n)
	}
	return n, err
}

// A Table is an open table that counts.
type Table struct {
	*flow.Table
	file *os.File
	size int64
}

// Close closes the table.
func (t *Table) Close() error { return t.file.Close() }

// ErrStale is returned by Open for a table of a capture file that is not there any more.
var ErrStale = errors.New("the table was made from another file")

// Open opens the table of a capture file. An error means that there is none that counts.
func Open(path string) (*Table, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	f, err := store.OpenRegular(TablePath(path), os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	t := &Table{file: f}
	if there, err2 := f.Stat(); err2 == nil {
		t.size = there.Size()
	}
	if t.Table, err = flow.OpenTable(f, t.size); err == nil && !made(&t.Source, path, info) {
		err = ErrStale
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("flow table %s: %w", text.Name(f.Name()), err)
	}
	return t, nil
}

// made reports whether a table was made from the capture file: its times and size have not changed, or capd has compressed it
// since, which keeps the time.
func made(s *flow.Source, path string, info fs.FileInfo) bool {
	base := filepath.Base(path)
	if s.Modified != info.ModTime().UnixNano() {
		return false
	}
	if s.File == base {
		return s.Size == info.Size()
	}
	name, state, err := store.Parse(base)
	return err == nil && state.HasData() && s.File == name.String()
}
