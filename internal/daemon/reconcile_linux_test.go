package daemon

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"capd/ledger"
)

// TestRestartReportsOnce: a file that got its final name in the moment of a kill, before its line came into the ledger, gets the
// line that it would have had, and no other.
func TestRestartReportsOnce(t *testing.T) {
	inBubble(t, fine, func(r *restarted) {
		r.frames(300)
		time.Sleep(300 * time.Millisecond)
		r.d.Rotate()
		r.frames(50)
		time.Sleep(300 * time.Millisecond)
		r.kill()
		lines := r.lines(ledger.KindFile)
		if len(lines) != 1 {
			t.Fatalf("%d lines of files before the kill", len(lines))
		}
		path := filepath.Join(r.dir, ledger.FileName)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		cut := slices.DeleteFunc(bytes.SplitAfter(b, []byte("\n")), func(line []byte) bool { return bytes.Contains(line, []byte(`"kind":"file"`)) })
		if err := os.WriteFile(path, bytes.Join(cut, nil), 0o600); err != nil {
			t.Fatal(err)
		}
		r.again(fine)
		var again []ledger.Entry
		for _, e := range r.lines(ledger.KindFile) {
			if e.Name == lines[0].Name {
				again = append(again, e)
			}
		}
		if len(again) != 1 || again[0].Reason != lines[0].Reason || !again[0].Clean || again[0].Received != lines[0].Received {
			t.Errorf("%+v, want one line as before: %+v", again, lines[0])
		}
		r.goesOn()
	})
}
