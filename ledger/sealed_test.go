package ledger

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"capd/seal"
)

// newKey makes the key of a directory, in a folder of its own.
func newKey(t *testing.T, dir string) (keys, verifier string) {
	t.Helper()
	keys = t.TempDir()
	verifier, created, err := seal.Init(keys, dir, "host")
	if err != nil || !created {
		t.Fatal(created, err)
	}
	return keys, verifier
}

func openKey(t *testing.T, keys, dir string) *seal.Key {
	t.Helper()
	k, err := seal.Open(keys, dir)
	if err != nil {
		t.Fatal(err)
	}
	k.Clock = func() string { return " synchronised\n" }
	return k
}

// follow reads a directory's log and checks each checkpoint, beginning with the
// verification key of the first epoch.
func follow(t *testing.T, dir, verifier string) (lines, seals int, epoch uint64) {
	t.Helper()
	var log *seal.Log
	for line, err := range Lines(dir, ReadOptions{}) {
		if err != nil || line.Err != nil {
			t.Fatal(err, line.Err)
		}
		if line.Entry.Kind == KindSeal {
			signed, err := line.Entry.Checkpoint()
			if err != nil {
				t.Fatal(err)
			}
			c, err := seal.Verify(signed, verifier)
			if err != nil {
				t.Fatalf("%s:%d: %v", line.File, line.Number, err)
			}
			if log == nil {
				if log, err = seal.Resume(c, line.Entry.Frontier); err != nil {
					t.Fatal(err)
				}
			} else if now := log.Checkpoint(); now.Root != c.Root || now.Size != c.Size || now.Batch != c.Batch || now.Lines != c.Lines || now.Log != c.Log {
				t.Fatalf("%s:%d: log is %+v, checkpoint %+v", line.File, line.Number, now, c)
			}
			if line.Number == 1 && line.Entry.Frontier == "" && c.Size > 0 {
				t.Errorf("%s begins without a frontier", line.File)
			}
			if c.Next != "" {
				verifier, epoch = c.Next, c.Epoch+1
			}
			log.Sealed()
			seals++
		}
		if log != nil {
			log.Append(line.Bytes)
			lines++
		}
	}
	return lines, seals, epoch
}

// TestSealed: the checkpoints are of the lines before them, over rotation,
// evolution, restarts, a torn line and lines that came while nothing sealed.
func TestSealed(t *testing.T) {
	dir := t.TempDir()
	keys, verifier := newKey(t, dir)
	name := nameOf("eth0", 1)
	for run := range 4 {
		l, err := Open(dir, Options{RotateSize: 4000, Key: openKey(t, keys, dir)})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			if err := l.Append(Hold(name), Release(name)); err != nil {
				t.Fatal(err)
			}
			if i%3 == 0 {
				if _, err := l.Checkpoint(); err != nil { // nothing is left where a new ledger has begun
					t.Fatal(err)
				}
			}
			if i%7 == 6 {
				if err := l.Evolve(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if done, err := l.Checkpoint(); err != nil {
			t.Fatal(done, err)
		}
		if done, err := l.Checkpoint(); done || err != nil {
			t.Fatal("nothing was sealed again:", done, err)
		}
		if run == 2 {
			if err := l.Seal(nil); err != nil {
				t.Fatal(err)
			}
			if err := l.Append(Hold(name)); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		h, err := os.OpenFile(filepath.Join(dir, FileName), os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(h, `{"v":1,"kind":"ho`)
		h.Close()
	}
	l, err := Open(dir, Options{Key: openKey(t, keys, dir)})
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	lines, seals, epoch := follow(t, dir, verifier)
	if lines < 4*40 || seals < 4*7 || epoch != 4*2 {
		t.Errorf("%d lines, %d seals, epoch %d", lines, seals, epoch)
	}
	chain, err := os.ReadFile(filepath.Join(dir, seal.ChainName))
	if err != nil || strings.Count(string(chain), "\n") != 8 {
		t.Errorf("chain: %v\n%s", err, chain)
	}
}

// TestSealedElsewise: a log whose sealed lines were changed does not go on; a
// new one begins and says why.
func TestSealedElsewise(t *testing.T) {
	dir := t.TempDir()
	keys, _ := newKey(t, dir)
	l, err := Open(dir, Options{Key: openKey(t, keys, dir)})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Append(Hold(nameOf("eth0", 1))); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	l.Close()
	path := filepath.Join(dir, FileName)
	b, _ := os.ReadFile(path)
	if err := os.WriteFile(path, []byte(strings.Replace(string(b), `"eth0"`, `"eth1"`, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err = Open(dir, Options{Key: openKey(t, keys, dir)})
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	b, _ = os.ReadFile(path)
	if !strings.Contains(string(b), `"why":"ledger.jsonl:`) {
		t.Errorf("no reason in\n%s", b)
	}
}

// TestEvolveCutOff: wherever a crash cuts an evolution off, the next start has
// one key, and the chain leads to it.
func TestEvolveCutOff(t *testing.T) {
	for _, at := range []string{"prepared", "sealed"} {
		dir := t.TempDir()
		keys, verifier := newKey(t, dir)
		l, err := Open(dir, Options{Key: openKey(t, keys, dir)})
		if err != nil {
			t.Fatal(err)
		}
		next, err := l.seals.key.Prepare()
		if err != nil {
			t.Fatal(err)
		}
		want := uint64(0)
		if at == "sealed" {
			want = 1
			if _, err := l.sign(next, ""); err != nil {
				t.Fatal(err)
			}
		}
		l.seals.key = nil
		if err := l.Close(); err != nil { // writes what waits, and seals nothing
			t.Fatal(err)
		}
		if l, err = Open(dir, Options{Key: openKey(t, keys, dir)}); err != nil {
			t.Fatal(err)
		}
		if err := l.Append(Hold(nameOf("eth0", 1))); err != nil {
			t.Fatal(err)
		}
		if done, err := l.Checkpoint(); !done || err != nil {
			t.Fatal(done, err)
		}
		l.Close()
		if _, _, epoch := follow(t, dir, verifier); epoch != want || openKey(t, keys, dir).Verifier() == next != (want == 1) {
			t.Errorf("%s: epoch %d, want %d", at, epoch, want)
		}
	}
}
