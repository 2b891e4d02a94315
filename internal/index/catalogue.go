package index

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"capd/flow"
	"capd/store"
)

// CatalogueName is the name of a directory's catalogue. It has a line for each table: the CRC-32C of the rest of the line in
// eight hexadecimal digits, a space, and an entry as a JSON object. A line that is damaged, or whose table or capture file has
// another size or time now, counts for nothing: then the table itself is opened.
const CatalogueName = ".capd-catalogue"

// filtersName is the name of the file with the filters of the tables in a catalogue. Those of new tables are appended, and those of
// deleted ones stay until they have half of the file. See blockSize.
const filtersName = ".capd-filters"

// maxCatalogueLine is more than a line has: names, sums and an error of a file.
const maxCatalogueLine = 64 << 10

// An entry is what a catalogue says about a table.
type entry struct {
	Size     int64       `json:"size"`     // bytes of the table
	Modified int64       `json:"modified"` // of the table, in nanoseconds since 1970
	Checksum uint32      `json:"checksum"` // of the table
	Source   flow.Source `json:"source"`   // as in the table
	Table    string      `json:"table"`    // its base name
	Filter   *keyFilter  `json:"filter"`   // of its keys; null: there is none
}

// A catalogue is the entries by the names of tables.
type catalogue map[string]entry

// readCatalogue reads a directory's catalogue; what can't be read is not in it.
func readCatalogue(dir string) catalogue {
	c := make(catalogue)
	h, err := store.OpenRegular(filepath.Join(dir, CatalogueName), os.O_RDONLY)
	if err != nil {
		return c
	}
	defer h.Close()
	lines := bufio.NewScanner(h)
	lines.Buffer(nil, maxCatalogueLine)
	for lines.Scan() {
		if e, ok := parseEntry(lines.Bytes()); ok {
			c[e.Table] = e
		}
	}
	return c
}

func parseEntry(line []byte) (e entry, ok bool) {
	digits, rest, ok := bytes.Cut(line, []byte(" "))
	if !ok || string(digits) != checksumOf(rest) {
		return e, false
	}
	if json.Unmarshal(rest, &e) != nil || e.Table == "" {
		return e, false
	}
	if f := e.Filter; f != nil && (f.At < 0 || f.Blocks < 0 || f.Blocks > maxKeyBytes/blockSize) {
		e.Filter = nil
	}
	return e, true
}

func checksumOf(b []byte) string {
	return fmt.Sprintf("%08x", crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

// write replaces the directory's catalogue.
func (c catalogue) write(dir string) error {
	draft, err := store.NewDraft(filepath.Join(dir, CatalogueName), store.DefaultFileMode)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(draft)
	for _, e := range c {
		line, err := json.Marshal(e)
		if err != nil {
			draft.Discard()
			return err
		}
		if len(line) < maxCatalogueLine-16 {
			fmt.Fprintf(w, "%s %s\n", checksumOf(line), line)
		}
	}
	if err := w.Flush(); err != nil {
		draft.Discard()
		return err
	}
	return draft.Place()
}

// Catalogue brings a directory's catalogue up to date with tables that were built: the others stay in it as long as they are
// there.
func Catalogue(dir string, built []Built) error {
	c, added := readCatalogue(dir), make(map[string][]byte)
	path := filepath.Join(dir, filtersName)
	old, err := store.OpenRegular(path, os.O_RDWR|os.O_APPEND)
	if err != nil {
		old = nil
	} else {
		defer old.Close()
	}
	for _, b := range built {
		info, err := os.Stat(b.Table)
		if err != nil || info.Size() != b.Size {
			continue
		}
		base := filepath.Base(b.Table)
		before := c[base]
		e := entry{Table: base, Size: b.Size, Modified: info.ModTime().UnixNano(), Checksum: b.Checksum, Source: b.Source}
		if e.Filter = before.Filter; before.Checksum != b.Checksum || !before.intact(old) {
			keys := b.keys
			if keys == nil {
				keys = keysOf(b.File)
			}
			if e.Filter = nil; keys != nil {
				added[base] = keys.filter(b.Checksum, b.Source.Length)
				e.Filter = &keyFilter{Blocks: len(added[base]) / blockSize, Open: keys.open, Links: keys.links}
			}
		}
		c[base] = e
	}
	for name := range c {
		if _, err := os.Lstat(filepath.Join(dir, name)); err != nil {
			delete(c, name)
		}
	}
	if err := c.writeFilters(path, old, added); err != nil {
		return err
	}
	return c.write(dir)
}

// intact reports whether the filter of a table is what it was.
func (e *entry) intact(filters *os.File) bool {
	if e.Filter == nil || filters == nil {
		return false
	}
	b := make([]byte, e.Filter.Blocks*blockSize)
	if _, err := filters.ReadAt(b, e.Filter.At); err != nil {
		return false
	}
	for i := range e.Filter.Blocks {
		if !isBlock(b[i*blockSize:], e.Checksum, i, e.Filter.Blocks) {
			return false
		}
	}
	return true
}

// keysOf returns the keys of the table of a capture file; nil if that does not count.
func keysOf(path string) *keySet {
	t, err := Open(path)
	if err != nil {
		return nil
	}
	defer t.Close()
	keys := new(keySet)
	if t.Each(func(r *flow.Row, _ string) error { keys.add(r); return nil }) != nil {
		return nil
	}
	return keys
}

// filterSlack is how many bytes of filters of deleted tables may stay in any case.
const filterSlack = 4 << 20

// writeFilters adds filters to the file of filters, or writes it anew, and sets where they are.
func (c catalogue) writeFilters(path string, old *os.File, added map[string][]byte) error {
	all := int64(0)
	for _, e := range c {
		if e.Filter != nil {
			all += int64(e.Filter.Blocks) * blockSize
		}
	}
	if old == nil {
		return c.rewriteFilters(path, nil, added)
	}
	if info, err := old.Stat(); err != nil || info.Size() > 2*all+filterSlack {
		return c.rewriteFilters(path, old, added)
	}
	for _, name := range slices.Sorted(maps.Keys(added)) {
		e, ok := c[name]
		if !ok {
			continue
		}
		b := added[name]
		if _, err := old.Write(b); err != nil {
			return err
		}
		end, err := old.Seek(0, io.SeekCurrent) // behind what was appended, wherever others have appended too
		if err != nil {
			return err
		}
		e.Filter.At = end - int64(len(b))
	}
	return nil
}

// rewriteFilters makes the file of filters anew, with those that are added and those of the others, which are in old.
func (c catalogue) rewriteFilters(path string, old *os.File, added map[string][]byte) error {
	draft, err := store.NewDraft(path, store.DefaultFileMode)
	if err != nil {
		return err
	}
	at := int64(0)
	for _, name := range slices.Sorted(maps.Keys(c)) { // as they are asked for: the disk reads ahead
		e := c[name]
		if e.Filter == nil {
			continue
		}
		b, ok := added[name]
		if !ok && old != nil {
			b = make([]byte, e.Filter.Blocks*blockSize)
			_, err := old.ReadAt(b, e.Filter.At)
			ok = err == nil
		}
		if !ok {
			e.Filter = nil
			c[name] = e
			continue
		}
		if _, err := draft.Write(b); err != nil {
			draft.Discard()
			return err
		}
		e.Filter.At = at
		at += int64(len(b))
	}
	return draft.Place()
}

// find returns what the catalogue says about the table of a capture file, if that is about the table and the file that are
// there now.
func (c catalogue) find(path string) (e entry, ok bool) {
	table := TablePath(path)
	if e, ok = c[filepath.Base(table)]; !ok {
		return e, false
	}
	info, err := os.Stat(table)
	if err != nil || info.Size() != e.Size || info.ModTime().UnixNano() != e.Modified {
		return e, false
	}
	capture, err := os.Stat(path)
	return e, err == nil && made(&e.Source, path, capture)
}
