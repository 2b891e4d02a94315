package extract

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"capd/ledger"
)

// A lateRecorder adds a file's line some time after it was asked to flush.
type lateRecorder struct {
	nobody
	late func()
}

func (r lateRecorder) Flush(context.Context, string) (Flushed, error) {
	go r.late()
	return Flushed{Recorded: true}, nil
}

// TestLineComesLate: a question in the moment in which a file has its name and not yet its line waits for the line.
func TestLineComesLate(t *testing.T) {
	for name, want := range map[string]bool{"late": true, "never": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				time.Sleep(time.Until(time.Unix(noonUnix, 0).Add(2 * time.Hour)))
				s := newScene(t, rand.New(rand.NewPCG(1, 2)))
				dir := s.dirs[0]
				last := s.of[dir][len(s.of[dir])-1]
				line := last.line()
				last.unlisted, last.suffix = true, ""
				s.write()
				by := lateRecorder{late: func() {
					time.Sleep(lineTime / 2)
					if name == "never" {
						return
					}
					l, err := ledger.Open(dir, ledger.Options{})
					if err != nil {
						t.Error(err)
						return
					}
					defer l.Close()
					if err := l.Append(line); err != nil {
						t.Error(err)
					}
				}}
				p, err := Question{Directories: s.dirs}.Plan(t.Context(), by)
				if err != nil {
					t.Fatal(err)
				}
				lacks := func(m Missing) bool { return m.Cause == ledger.CauseNoLine }
				if slices.ContainsFunc(p.Answer.Missing, lacks) == want {
					t.Errorf("missing: %+v", p.Answer.Missing)
				}
			})
		})
	}
}
