package writer

import (
	"testing"
	"time"

	"capd/ledger"
	"capd/pcap"
)

// A witness counts what an Observer is told.
type witness struct {
	at, end int64
	torn    bool // bytes were left out
	late    int
}

func (o *witness) Records(offset int64, b []byte) {
	o.torn = o.torn || offset != o.at
	o.at += int64(len(b))
}

func (o *witness) End(size int64) { o.end = size }

func (o *witness) Late() { o.late++ }

// TestObserve: an observer is told of all records of a file. A file with which
// a process goes on has none, as nobody has seen all of it.
func TestObserve(t *testing.T) {
	var all []*witness
	l := newLine(t, Options{NoDirect: true, Grace: time.Second, Header: pcap.Header{Format: pcap.PCAPNG}, Observe: func(_ pcap.Header, begin []byte) Observer {
		o := &witness{at: int64(len(begin))}
		all = append(all, o)
		return o
	}})
	w := l.next()
	for range 3 {
		w.Write(some(64))
	}
	w.Commit(1, 192, 0)
	w.Rotate(ledger.ReasonSignal)
	w.Write(some(100))
	w.Commit(2, 100, 0)
	l.kill(w)
	w = l.next()
	w.Write(some(100))
	w.Commit(3, 100, 0)
	w.Rotate(ledger.ReasonSignal)
	w.Write(some(1))
	w.Commit(4, 1, 0)
	w.Tick(noon.Add(3*time.Second), 3*time.Second)
	w.Write(some(1)) // of a time that is long over
	w.Commit(5, 1, 0)
	files := l.close(w)
	if len(files) != 3 || len(all) != 3 {
		t.Fatalf("%d files, %d observers", len(files), len(all))
	}
	first := all[0]
	if files[0].Observer != first || first.torn || first.end != files[0].Size || first.at > first.end || first.end-first.at > 200 {
		t.Errorf("%+v: the file has %d bytes", first, files[0].Size)
	}
	if files[1].Observer != nil || all[1].end != 0 {
		t.Error("a file of two processes has an observer")
	}
	if files[2].Observer != nil || all[2].late != 1 || all[2].end != 0 {
		t.Errorf("%+v: a Writer that is late has an observer", all[2])
	}
}
