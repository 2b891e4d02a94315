package verify

import (
	"cmp"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"capd/internal/finish"
	"capd/ledger"
	"capd/seal"
	"capd/store"
)

// files compares the files of a directory with what the ledger says of them.
type files struct {
	*walk
	dir     string
	entries []fs.DirEntry
	there   map[string]bool   // names of finished files that are there, in some state
	roots   map[string]string // names by root
}

func (f *files) verify() error {
	f.there, f.roots = make(map[string]bool), make(map[string]string)
	for name, d := range f.digests {
		f.roots[d.root] = name
	}
	var data []string
	var total int64
	for _, e := range f.entries {
		name, state, err := store.Parse(e.Name())
		if err != nil {
			continue
		}
		switch {
		case state.HasData():
			f.there[name.String()] = true
			if f.wants(e.Name(), name) {
				data = append(data, e.Name())
				if info, err := e.Info(); err == nil {
					total += info.Size()
				}
			}
		case state == store.Recording && f.wants(e.Name(), name):
			f.there[name.String()] = true
			f.unproven(Open, e.Name(), "it was not finished, and what it holds is not sealed")
		case state == store.Damaged && f.wants(e.Name(), name):
			f.there[name.String()] = true
			f.unproven(Unsealed, e.Name(), "it is damaged, and what it holds was never sealed")
		}
	}
	f.opt.Begin(total)
	slices.Sort(data)
	for _, base := range data {
		if err := f.file(base); err != nil {
			return err
		}
	}
	f.missing()
	for _, t := range f.forged {
		if name, err := store.ParseName(t.File); err == nil && f.wants(t.File, name) {
			f.Tampered = append(f.Tampered, t)
		}
	}
	sortFindings(f.Tampered)
	return nil
}

// wants reports whether the file is asked for.
func (f *files) wants(base string, name store.Name) bool {
	if f.opt.Only != nil && !f.opt.Only[base] && !f.opt.Only[name.String()] {
		return false
	}
	begin, end := name.Start, time.Time{}
	if span, ok := f.spans[name.String()]; ok {
		begin, end = span[0], span[1]
	}
	return (f.opt.Until.IsZero() || begin.Before(f.opt.Until)) && (f.opt.Since.IsZero() || end.IsZero() || end.After(f.opt.Since))
}

// file verifies one finished file.
func (f *files) file(base string) error {
	name, _, _ := store.Parse(base)
	s := name.String()
	want, known := f.digests[s]
	switch {
	case f.deleted[s]:
		f.tampered(Inserted, base, "a sealed line says that a limit has deleted it")
		return nil
	case !known:
		f.unknown(base, name)
		return nil
	}
	path := filepath.Join(f.dir, base)
	h, err := store.OpenRegular(path, os.O_RDONLY)
	if err != nil {
		if _, gone := os.Lstat(path); gone != nil && f.Live {
			return nil // deleted or compressed meanwhile
		}
		return err
	}
	defer h.Close()
	got, err := digestOf(counting{h, f.opt.Read}, path)
	same := err == nil && got.Size == want.size && got.Root.String() == want.root
	switch other := f.roots[got.Root.String()]; {
	case same:
		f.Files++
		f.Bytes += got.Size
		when, why := f.sealing(base, s)
		f.Sealings = append(f.Sealings, when)
		if why != "" {
			f.unproven(Late, base, "%s", why)
		}
	case err != nil:
		f.tampered(Changed, base, "it can't be unpacked: %v", err)
	case other != "":
		f.tampered(Swapped, base, "it holds what %s held", other)
	case got.Size < want.size:
		f.tampered(Cut, base, "it holds %d bytes, and %d were sealed", got.Size, want.size)
	case got.Size > want.size:
		f.tampered(Longer, base, "it holds %d bytes, and %d were sealed", got.Size, want.size)
	default:
		f.tampered(Changed, base, "its bytes are not those that were sealed")
	}
	return nil
}

// unknown is about a file without a digest.
func (f *files) unknown(base string, name store.Name) {
	s := name.String()
	why, claimed := f.claimed[s]
	first := f.From
	switch {
	case claimed:
		f.unproven(cmp.Or(map[bool]string{true: Open}[strings.Contains(why, "not yet")], Unsealed), base, "%s", why)
	case f.files[s] != nil:
		f.unproven(Open, base, "its line is sealed, and the digest of its bytes is not there yet")
	case name.Start.Before(first.Truncate(time.Second)):
		f.unproven(Unsealed, base, "it was recorded before sealing began")
	case !f.ends && name.Sequence > f.sequence[name.Of()]:
		f.unproven(Open, base, "it is newer than the last line about its interface")
	case slices.ContainsFunc(f.Tampered, func(t Finding) bool { return strings.HasSuffix(t.File, ".jsonl") }):
		f.unproven(Unsealed, base, "no sealed line is about such a file, and some lines are not as they were sealed")
	default:
		f.tampered(Inserted, base, "no sealed line is about such a file")
	}
}

// missing finds files that should be there.
func (f *files) missing() {
	names := make(map[string]bool)
	for s, e := range f.files {
		if e.Packets > 0 {
			names[s] = true
		}
	}
	for s := range f.digests {
		names[s] = true
	}
	for _, s := range slices.Sorted(maps.Keys(names)) {
		name, err := store.ParseName(s)
		if err != nil || f.there[s] || !f.wants(s, name) {
			continue
		}
		e := f.files[s]
		switch {
		case f.gone[s]:
			f.Deleted++
		case f.empty[s]:
		case f.lost[s]:
			f.unproven(Open, s, "it is not there, and the line that a limit has deleted it is not yet sealed")
		case f.digests[s].root == "" && e != nil && !e.Clean && e.Reason != ledger.ReasonSalvaged:
			f.unproven(Unsealed, s, "it failed, and is not there")
		default:
			f.tampered(Missing, s, "it is not there, and no sealed line says that a limit has deleted it")
		}
	}
}

// digestOf digests what was recorded, from a file that may be compressed.
func digestOf(src io.Reader, path string) (seal.Digest, error) {
	r, err := finish.Recording(src, path)
	if err != nil {
		return seal.Digest{}, err
	}
	defer r.Close()
	return seal.DigestOf(r)
}

type counting struct {
	io.Reader
	read func(int)
}

func (c counting) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.read(n)
	return n, err
}
