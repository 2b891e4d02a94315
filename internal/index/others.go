package index

import (
	"io/fs"
	"os"
	"path/filepath"

	"capd/flow"
	"capd/store"
)

// An Indexed is a capture file whose flow table counts, and what the table says of it.
type Indexed struct {
	Name       string // in the directory
	Compressed bool
	Info       fs.FileInfo
	flow.Source
}

// All returns the finished capture files of a directory that have flow tables that count, of any tool, by their names.
func All(dir string) ([]Indexed, error) {
	paths, err := Files(dir)
	if err != nil {
		return nil, err
	}
	known := readCatalogue(dir)
	var all []Indexed
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			continue
		}
		_, state := store.Cut(path)
		x := Indexed{Name: filepath.Base(path), Compressed: state != store.Finished, Info: info}
		if e, ok := known.find(path); ok {
			x.Source = e.Source
		} else if t, err := Open(path); err == nil {
			x.Source = t.Source
			_ = t.Close()
		} else {
			continue
		}
		all = append(all, x)
	}
	return all, nil
}
