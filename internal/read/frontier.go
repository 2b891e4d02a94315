package read

import (
	"fmt"
	"os"

	"capd/pcap"
	"capd/store"
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
func (f *frontier) advance(h *os.File) error {
	info, err := h.Stat()
	if err != nil {
		return err
	}
	size := info.Size()
	switch {
	case size < f.End:
		return fmt.Errorf("follow %s: cut to %d bytes, when it had been read up to byte %d", h.Name(), size, f.End)
	case size == 0 || size == f.clean:
		return nil
	}
	size = min(store.SeekHole(h, f.End, size), f.End+frontierStep)
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
