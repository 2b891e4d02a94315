package extract

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"capd/pcap"
	"capd/store"
)

// flushing has written all that came.
type flushing struct{ nobody }

func (flushing) Flush(context.Context, string) (Flushed, error) { return Flushed{Recorded: true}, nil }

// whole has written all that came, and says how far the file that is being recorded is whole.
type whole struct {
	flushing
	path string
}

func (w whole) Flush(context.Context, string) (Flushed, error) {
	f := Flushed{Recorded: true}
	h, err := os.Open(w.path + store.Partial)
	if err != nil {
		return f, nil
	}
	defer h.Close()
	info, err := h.Stat()
	if err != nil {
		return f, err
	}
	s, err := pcap.Scan(h, info.Size(), 0)
	f.Whole = map[string]int64{filepath.Base(h.Name()): s.End}
	return f, err
}

// TestMemory: while files grow, are finished, replaced and deleted, answers are the same to the byte with a Memory, which reads less,
// whether it is known how far files are whole or not.
func TestMemory(t *testing.T) {
	asked, found, less := 0, 0, 0
	for seed := range uint64(6) {
		h := newHoard(t, seed)
		var images [][]byte
		var names []string
		for _, name := range h.names {
			if _, state, err := store.Parse(name); err == nil && state == store.Finished {
				b, err := os.ReadFile(filepath.Join(h.dir, name))
				h.must(err)
				images, names = append(images, b), append(names, name)
			}
		}
		h.dir = t.TempDir()
		lock, err := store.LockDirectory(h.dir) // as a recorder does
		h.must(err)
		m := new(Memory)
		for i := range names {
			path := filepath.Join(h.dir, names[i])
			for done, step := 0, 0; step < 6; step++ {
				switch {
				case step < 4:
					done = min(len(images[i]), done+1+h.IntN(1+len(images[i])/3))
					h.must(os.WriteFile(path+store.Partial, images[i][:done], 0o600)) // the same file
				case step == 4:
					h.must(os.WriteFile(path+store.Partial, images[i], 0o600))
					h.must(os.Rename(path+store.Partial, path))
				case h.IntN(4) == 0: // another file of that name
					h.must(os.Remove(path))
					h.must(os.WriteFile(path, images[h.IntN(len(images))], 0o600))
				}
				if step > 3 { // no line will come
					h.must(os.Chtimes(path, time.Time{}, time.Unix(noonUnix, 0)))
				}
				q := h.question()
				if len(q.Flows) == 0 {
					f, err := ParseFlow(fmt.Sprintf("10.0.%d.%d 10.0.%d.%d", h.IntN(2), 1+h.IntN(4), h.IntN(2), 1+h.IntN(4)))
					h.must(err)
					q.Flows = Flows{f.Whole()}
				}
				if q.Until.IsZero() {
					q.Until = time.Unix(noonUnix, 0).Add(time.Hour) // not now, which the answer has
				}
				if h.IntN(4) > 0 {
					q.Expression, q.Since = "", time.Time{}
				}
				want, said, without := h.askBy(flushing{}, q, nil)
				q.Memory = m
				by := Recorders(flushing{})
				if h.IntN(3) > 0 {
					by = whole{path: path}
				}
				got, saidNow, a := h.askBy(by, q, nil)
				if !bytes.Equal(got, want) || said != saidNow {
					t.Fatalf("seed %d, %s, step %d: %q, %v, %v to %v: %d packets, want %d\n%s, want\n%s\n%v", seed, names[i], step, q.Expression, q.Flows, q.Since, q.Until, a.Packets, without.Packets, saidNow, said, a.Notes)
				}
				if asked++; a.Packets > 0 {
					found++
				}
				if a.Read < without.Read {
					less++
				}
				for _, note := range a.Notes {
					if strings.Contains(note, "flow table is of another file") {
						t.Error(note)
					}
				}
			}
		}
		m.Close()
		if m.bytes != 0 || len(m.files) != 0 {
			t.Errorf("%d bytes of %d files are left", m.bytes, len(m.files))
		}
		h.must(lock.Release())
	}
	t.Logf("%d questions, %d had packets, of %d less was read", asked, found, less)
	if found < asked/5 || less < asked/5 {
		t.Error("the cases are too much alike")
	}
}
