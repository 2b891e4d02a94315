package read

import (
	"fmt"
	"io"

	"capd/pcap"
)

// frontierStep is how many bytes are looked at together: more than the longest
// record, and few enough that the first packets of a large file do not wait for
// its last.
const frontierStep = 32 << 20

// A frontier is how far a capture file can be read while it is written.
type frontier struct {
	End     int64 // the file has whole records and no gap up to here
	Damaged bool  // what follows is no record, nor the beginning of one
	before  int64 // an earlier End: a scan from there finds at least a record
	clean   int64 // bytes of the file that were whole records at the last look; 0: not all were
}

// advance moves the frontier in a file that a recorder, or another tool, writes.
//
// A recorder writes several chunks at once: a later one may be in the file, and
// an earlier one not. Where the system knows of holes, nothing behind such a hole is
// looked at, as its zeros would pass for a packet's; elsewhere Damaged may be
// true for a while.
func (f *frontier) advance(h *content) error {
	size, err := h.size()
	if err != nil {
		return err
	}
	switch {
	case size < f.End:
		return fmt.Errorf("follow %s: cut to %d bytes, when it had been read up to byte %d", h.Name(), size, f.End)
	case size == 0 || size == f.clean:
		return nil
	}
	size = min(h.hole(f.End, size), f.End+frontierStep)
	s, err := pcap.Scan(h, size, f.before)
	if err != nil {
		return fmt.Errorf("scan %s: %w", h.Name(), err)
	}
	if s.End > f.End {
		f.before, f.End = f.End, s.End
	}
	f.Damaged, f.clean = s.Tail == pcap.Corrupt, 0
	if s.Tail == pcap.Clean {
		f.clean = size
	}
	return nil
}

// know moves the frontier to where it is known to be.
func (f *frontier) know(end int64) {
	if end > f.End {
		f.before, f.End, f.clean = f.End, end, 0
	}
}

// grown reads a file up to its frontier, which it moves until it has passed the size that the file had.
type grown struct {
	h        *content
	off      int64
	limit    int64
	frontier frontier
}

func (g *grown) Read(b []byte) (int, error) {
	if g.off >= g.frontier.End && g.off < g.limit {
		if err := g.frontier.advance(g.h); err != nil {
			return 0, err
		}
	}
	left := g.frontier.End - g.off
	if left <= 0 {
		return 0, io.EOF
	}
	n, err := g.h.ReadAt(b[:min(int64(len(b)), left)], g.off)
	g.off += int64(n)
	if n > 0 {
		err = nil
	}
	return n, err
}
