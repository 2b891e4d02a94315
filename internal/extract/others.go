package extract

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"capd/internal/index"
	"capd/internal/inventory"
	"capd/ledger"
)

// List lists the files that a question may read of a directory: those of capd. Where there is none of them and no ledger, they are
// the capture files of other tools that have flow tables: these say which times the files have, and that somebody meant them to be
// searched. A file that was extracted has none.
func List(dir string, q inventory.Query) (*inventory.Listing, error) {
	l, err := inventory.Read(dir, q)
	if err != nil || len(l.Files) > 0 || l.Missing > 0 {
		return l, err
	}
	if _, err := os.Lstat(filepath.Join(dir, ledger.FileName)); !errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	all, err := index.All(dir)
	for i := range all {
		l.Files = append(l.Files, foreign(&all[i]))
	}
	return l, err
}

// foreign is a file of another tool. What it lacks is not known: it is not clean.
func foreign(x *index.Indexed) *inventory.File {
	t := &x.Totals
	f := &inventory.File{Name: x.Name, State: inventory.Finished, Size: x.Info.Size()}
	if x.Compressed {
		f.State = inventory.Compressed
	}
	if t.First != 0 {
		f.Begin, f.End = time.Unix(0, t.First).UTC(), time.Unix(0, t.Last).UTC()
	}
	if x.Error == "" && !t.Timeless {
		f.Contents = &inventory.Contents{First: f.Begin, Last: f.End, Packets: t.Packets, Bytes: t.Bytes - t.Cut}
	}
	return f
}
