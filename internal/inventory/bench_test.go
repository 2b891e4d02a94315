package inventory

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"capd/ledger"
)

// BenchmarkRead lists 100,000 files, once without a ledger and once with a
// ledger that has them all. A tenth is compressed, a hundredth held.
func BenchmarkRead(b *testing.B) {
	const files = 100_000
	dir := b.TempDir()
	lines := fill(b, dir, files)
	for _, known := range []bool{false, true} {
		if known {
			ledger, err := ledger.Open(dir, ledger.Options{})
			if err := errors.Join(err, ledger.Append(lines...), ledger.Close()); err != nil {
				b.Fatal(err)
			}
		}
		b.Run(fmt.Sprintf("ledger=%v", known), func(b *testing.B) {
			for b.Loop() {
				l, err := Read(dir, Query{})
				if err != nil || len(l.Files) != files || l.Missing != 0 || known != (l.Files[files-1].Contents != nil) {
					b.Fatalf("%d files, %v", len(l.Files), err)
				}
			}
		})
	}
}

// fill creates the files and returns the ledger's lines of them.
func fill(b *testing.B, dir string, files int) []ledger.Entry {
	var lines []ledger.Entry
	for i := range files {
		name := nth(i)
		lines = append(lines, line(name, 10))
		s := name.String()
		if i%10 == 0 {
			s += ".zst"
			lines = append(lines, ledger.Entry{Kind: ledger.KindCompressed, Name: name.String(), Into: filepath.Join(dir, s), Tally: ledger.Tally{Size: 5}})
		}
		touch(b, dir, s)
		if i%100 == 0 {
			touch(b, dir, s+".hold")
		}
	}
	return lines
}

func touch(t testing.TB, dir, name string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
}
