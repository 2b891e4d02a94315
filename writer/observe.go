package writer

import "capd/pcap"

// An Observer sees the records of one file on their way to the disk, from its first on. The Writer's goroutine calls it, so it must
// not block, and it must not keep the bytes.
type Observer interface {
	// Records are whole records, the first of which begins at the offset of the file.
	Records(offset int64, b []byte)

	// End is called behind the last record. The file has so many bytes, if all of it gets to the disk.
	End(size int64)

	// Late is called in place of all that would come, because the Writer is behind with its work.
	Late()
}

// observer returns the observer of a new file.
func (w *Writer) observer() Observer {
	if w.opt.Observe == nil {
		return nil
	}
	return w.opt.Observe(w.opt.Header, w.enc.Header())
}

// observedAtOnce is how many packets are encoded before the observer is told of them: so few that their records are still in the
// first-level cache.
const observedAtOnce = 16

// atOnce returns the packets to encode at once.
func (w *Writer) atOnce(pkts []pcap.Packet) []pcap.Packet {
	if w.file.report.Observer == nil || len(pkts) <= observedAtOnce {
		return pkts
	}
	return pkts[:observedAtOnce]
}

// observe tells the observer of records at the end of the current file.
func (w *Writer) observe(b []byte) { w.observeAt(w.file.encoded.bytes, b) }

// observeAt tells the observer of records of the current file. What an observer costs must not cost frames: if they come out of the
// ring later than they should, nobody observes the rest of the file.
func (w *Writer) observeAt(offset int64, b []byte) {
	o := w.file.report.Observer
	switch {
	case o == nil:
	case w.schedule.lag > w.schedule.grace:
		w.file.report.Observer = nil
		o.Late()
	default:
		o.Records(offset, b)
	}
}

func (r *File) observeEnd(size int64) {
	if r.Observer != nil {
		r.Observer.End(size)
	}
}
