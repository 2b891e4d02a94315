package writer

// Stats are counters since the Writer was made.
type Stats struct {
	Accepted   uint64 // packets given to Write
	Bytes      uint64 // bytes of their captured data
	Written    uint64 // packets on disk
	Lost       uint64 // packets dropped by capd: the disk failed
	Truncated  uint64 // packets that were cut
	Oversized  uint64 // of these, cut though the snaplen did not ask for it
	Files      uint64 // finished files
	FileBytes  int64  // bytes of finished files
	Failures   uint64 // files that failed
	Digests    uint64 // finished files whose digests were made while they were recorded
	Undigested uint64 // finished files for whose digests there was no time
	Waits      uint64 // times that Write waited and packets stayed in the ring: all chunks were in use, or too many ended files were queued
	FreeChunks int
	Chunks     int
	HighChunks int    // largest number of chunks in use at the same time
	File       string // the file being written; empty without one
	Suspended  bool   // the disk failed: packets are counted and dropped until the next try
	Writes     Latency
	Syncs      Latency // of syncs of files and of the directory
}

// publish makes the current counters visible to Stats.
func (w *Writer) publish() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open = w.file
	w.seen.Accepted = w.total.Packets
	w.seen.Bytes = w.total.Bytes
	w.seen.Truncated, w.seen.Oversized = w.total.Truncated, w.total.Oversized
	w.seen.Lost = w.lost
	w.seen.Waits = w.waits
	w.seen.Suspended = w.resume != 0
}

// Stats returns the counters. It may be called from any goroutine.
func (w *Writer) Stats() Stats {
	w.mu.Lock()
	s, f := w.seen, w.open
	w.mu.Unlock()
	d := &w.disk
	s.Written = d.packets.Load()
	s.Lost += d.lost.Load()
	s.Files, s.FileBytes, s.Failures = d.files.Load(), d.size.Load(), d.errors.Load()
	s.Digests, s.Undigested = d.digests.Load(), d.unmade.Load()
	used, high := d.pool.usage()
	s.Chunks, s.FreeChunks, s.HighChunks = d.pool.count, d.pool.count-used, high
	s.Writes, s.Syncs = d.writes.latency(), d.syncs.latency()
	if f != nil {
		s.File = f.name()
	}
	return s
}

// Add adds the counters of an earlier Writer. Fields that describe the present state are not
// changed.
func (s *Stats) Add(o *Stats) {
	s.Accepted += o.Accepted
	s.Bytes += o.Bytes
	s.Written += o.Written
	s.Lost += o.Lost
	s.Truncated += o.Truncated
	s.Oversized += o.Oversized
	s.Files += o.Files
	s.FileBytes += o.FileBytes
	s.Failures += o.Failures
	s.Digests += o.Digests
	s.Undigested += o.Undigested
	s.Waits += o.Waits
	s.Writes.Add(&o.Writes)
	s.Syncs.Add(&o.Syncs)
}
