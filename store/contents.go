package store

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// Contents is what a directory holds of capd's.
type Contents struct {
	Last     map[Lane]uint64 // highest sequence numbers
	Files    int             // finished files
	Partials []string        // names of files that a recorder left unfinished
}

// ReadContents lists a directory. Names that are not capd's are passed over.
func ReadContents(dir string) (Contents, error) {
	c := Contents{Last: make(map[Lane]uint64)}
	h, err := os.Open(dir)
	if err != nil {
		return c, fmt.Errorf("read directory: %w", err)
	}
	defer h.Close()
	for {
		names, err := h.Readdirnames(4096)
		for _, s := range names {
			c.add(s)
		}
		if errors.Is(err, io.EOF) {
			return c, nil
		}
		if err != nil {
			return c, fmt.Errorf("read directory %s: %w", dir, err)
		}
	}
}

func (c *Contents) add(s string) {
	n, state, err := Parse(s)
	if err != nil {
		return
	}
	lane := n.Of()
	c.Last[lane] = max(c.Last[lane], n.Sequence)
	switch {
	case state == Recording:
		c.Partials = append(c.Partials, s)
	case state.HasData():
		c.Files++
	}
}
