package daemon

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"capd/config"
	"capd/internal/control"
	"capd/ledger"
	"capd/pcap"
)

// packetsOf returns how many packets the unfinished files of the directory hold up to the end of what is said to be whole.
func packetsOf(t *testing.T, dir string, whole []control.Whole) (n uint64) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.partial"))
	if err != nil {
		t.Fatal(err)
	}
	if len(whole) != len(paths) {
		t.Errorf("%v are said to be whole, and there are %v", whole, paths)
	}
	for _, w := range whole {
		h, err := os.Open(w.Path)
		if err != nil {
			t.Fatal(err)
		}
		s, err := pcap.Scan(h, w.Bytes, 0)
		h.Close()
		if err != nil || s.Tail != pcap.Clean || s.End != w.Bytes {
			t.Fatalf("%v: %+v, %v", w, s, err)
		}
		n += s.Packets
	}
	return n
}

// TestFlush: what has come can be read when Flush returns, however long the flush interval is, and no file ends.
func TestFlush(t *testing.T) {
	onFake(t, func(t *testing.T, n network) {
		v1 := n.add("v1")
		n.add("v2")
		r := newRig(t, n, func(c *config.Config) { c.FlushInterval = config.Duration(time.Hour) }, "v1", "v2")
		r.start(r.options())
		r.await("recording", func() bool { return r.status("v1").State == Recording && r.status("v2").State == Recording })
		if whole, err := r.d.Flush(t.Context()); err != nil || len(whole) > 0 {
			t.Errorf("without a frame: %v, %v", whole, err)
		}
		sent := uint64(0)
		for _, count := range []uint64{1, 100, 5000, 1} {
			r.send(v1, 1, sent, sent+count, "v1")
			sent += count
			whole, err := r.d.Flush(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got := packetsOf(t, r.dir, whole); got != sent {
				t.Errorf("%d packets can be read after a flush, and %d were sent", got, sent)
			}
		}
		done, cancel := context.WithCancel(t.Context())
		cancel()
		r.send(v1, 1, sent, sent+1, "v1")
		if _, err := r.d.Flush(done); !errors.Is(err, errNotFlushed) {
			t.Errorf("a flush that nobody waits for: %v", err)
		}
		r.end()
		verify(t, r.files("v1"), 1, sent+1, 0)
	})
}

// TestFlushUnderLoad: while frames come a flush waits for no block timeout, as a frame that is newer says that all older ones are there.
func TestFlushUnderLoad(t *testing.T) {
	onFake(t, func(t *testing.T, n network) {
		v1 := n.add("v1")
		r := newRig(t, n, func(c *config.Config) {
			c.FlushInterval, c.BlockTimeout = config.Duration(time.Hour), config.Duration(10*time.Second)
		}, "v1")
		r.start(r.options())
		r.await("recording", func() bool { return r.status("v1").State == Recording })
		var sent atomic.Uint64
		stop, over := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(over)
			for at := uint64(0); ; at++ {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
					r.send(v1, 1, at, at+1, "v1")
					sent.Store(at + 1)
				}
			}
		}()
		for range 5 {
			time.Sleep(77 * time.Millisecond)
			began, before := time.Now(), sent.Load()
			whole, err := r.d.Flush(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took > 5*time.Second { // a block is full before
				t.Errorf("it took %v", took)
			}
			if got := packetsOf(t, r.dir, whole); got < before {
				t.Errorf("%d packets can be read after a flush, and %d were sent before", got, before)
			}
		}
		close(stop)
		<-over
		r.end()
		verify(t, r.files("v1"), 1, sent.Load(), 0)
	})
}

// TestExtracted: who got packets out of a directory is in its ledger.
func TestExtracted(t *testing.T) {
	onFake(t, func(t *testing.T, n network) {
		n.add("v1")
		r := newRig(t, n, nil, "v1")
		r.start(r.options())
		e := control.Extraction{Directory: r.dir, UID: 7, User: "alice", Sudo: "bob (uid 8)", Question: "capd extract tcp", Packets: 3, Bytes: 4}
		if err := r.d.Extracted(t.Context(), e); err != nil {
			t.Error(err)
		}
		e.Directory = t.TempDir()
		if err := r.d.Extracted(t.Context(), e); err == nil || !strings.Contains(err.Error(), "does not record there") {
			t.Errorf("%v", err)
		}
		r.end()
		var found []ledger.Entry
		for line, err := range ledger.ReadWith(r.dir, ledger.ReadOptions{}) {
			if err != nil {
				t.Fatal(err)
			}
			if line.Kind == ledger.KindExtract {
				found = append(found, line)
			}
		}
		if len(found) != 1 || found[0].UID != 7 || found[0].User != "alice" || found[0].Sudo != "bob (uid 8)" || found[0].Question != "capd extract tcp" || found[0].Packets != 3 {
			t.Errorf("%+v", found)
		}
	})
}
