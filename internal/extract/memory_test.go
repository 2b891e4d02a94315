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

	"capd/store"
)

// flushing has written all that came.
type flushing struct{ nobody }

func (flushing) Flush(context.Context, string) (bool, error) { return true, nil }

// TestMemory: while files grow, are finished, replaced and deleted, answers are the same to the byte with a Memory, which reads less.
func TestMemory(t *testing.T) {
	asked, found, less := 0, 0, 0
	for seed := range uint64(6) {
		h := newHoard(t, seed)
		var whole [][]byte
		var names []string
		for _, name := range h.names {
			if _, state, err := store.Parse(name); err == nil && state == store.Finished {
				b, err := os.ReadFile(filepath.Join(h.dir, name))
				h.must(err)
				whole, names = append(whole, b), append(names, name)
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
					done = min(len(whole[i]), done+1+h.IntN(1+len(whole[i])/3))
					h.must(os.WriteFile(path+store.Partial, whole[i][:done], 0o600)) // the same file
				case step == 4:
					h.must(os.WriteFile(path+store.Partial, whole[i], 0o600))
					h.must(os.Rename(path+store.Partial, path))
				case h.IntN(4) == 0: // another file of that name
					h.must(os.Remove(path))
					h.must(os.WriteFile(path, whole[h.IntN(len(whole))], 0o600))
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
				got, saidNow, a := h.askBy(flushing{}, q, nil)
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
