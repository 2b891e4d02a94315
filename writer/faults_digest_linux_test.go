package writer_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"capd/internal/testdisk"
	"capd/ledger"
	"capd/pcap"
	"capd/seal"
	"capd/store"
	"capd/writer"
)

// digested returns options of a Writer whose files get digests by the Digester, however its packets are late.
func digested(d *writer.Digester, opt writer.Options) writer.Options {
	opt.Digest, opt.Grace = func() *writer.Digester { return d }, time.Hour
	return opt
}

// checkDigests fails the test if a digest is not that of the file on the disk, or is that of a file that failed. It returns
// how many there are.
func checkDigests(t *testing.T, dir string, files []writer.File) (n int) {
	t.Helper()
	for _, f := range files {
		if f.Digest == nil {
			continue
		}
		n++
		got, err := seal.DigestFile(filepath.Join(dir, filepath.Base(f.Path)))
		if err != nil || got != *f.Digest || f.Err != nil || strings.HasSuffix(f.Path, store.Partial) {
			t.Errorf("%s: %v, on the disk %v: %v, %v", f.Path, *f.Digest, got, err, f.Err)
		}
	}
	return n
}

// TestDigestsWithFaults: whatever the disk does, plain or encrypted, rotated by size, time or a signal, the digest of a file is that of its
// bytes on the disk, or there is none.
func TestDigestsWithFaults(t *testing.T) {
	ops := []testdisk.Op{
		testdisk.Create, testdisk.Open, testdisk.Write, testdisk.Write, testdisk.Write, testdisk.Sync,
		testdisk.SyncDir, testdisk.Rename, testdisk.Allocate, testdisk.Truncate, testdisk.WriteDirect,
	}
	errs := []syscall.Errno{syscall.EIO, syscall.ENOSPC, syscall.EINVAL}
	total := 0
	for seed := range uint64(16) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 3))
			opt := writer.Options{
				Header:         pcap.Header{Format: pcap.Format(seed % 2)},
				RotateSize:     []int64{0, 5000, 100_000, 1_000_000}[r.IntN(4)],
				RotateInterval: time.Duration(r.IntN(2)) * time.Minute,
				NoDirect:       r.IntN(4) == 0,
			}
			if seed%4 > 1 {
				opt.ChunkSize, opt.PoolSize, opt.Recipients = 128<<10, 1<<20, rigRecipients(t)
				opt.RotateSize *= 4
			}
			b := newBench(t, digested(writer.NewDigester(), opt))
			b.promptly("recording", func() {
				for range 100 {
					switch r.IntN(6) {
					case 0:
						f := testdisk.Fault{After: r.IntN(4), Times: r.IntN(4), Err: errs[r.IntN(len(errs))]}
						if r.IntN(3) == 0 {
							f.Err, f.Short = 0, 1+r.IntN(9000)
						}
						b.disk.Set(ops[r.IntN(len(ops))], f)
					case 1:
						b.disk.Heal()
					case 2:
						b.Rotate(ledger.ReasonSignal)
					default:
						b.write(1+r.IntN(64), 4+r.IntN(2000))
					}
					b.pass(time.Duration(r.IntN(3000)) * time.Millisecond)
				}
			})
			b.disk.Heal()
			b.recover()
			files := b.close()
			b.account(files)
			n, s := checkDigests(t, b.files, files), b.Stats()
			if uint64(n) != s.Digests || s.Digests+s.Undigested != s.Files {
				t.Errorf("%d digests: %+v", n, s)
			}
			total += n
		})
	}
	if total == 0 {
		t.Error("no file has a digest")
	}
}

// TestDigestsOff: there are none that nobody asked for, and a Digester may come and go from file to file.
func TestDigestsOff(t *testing.T) {
	d, files := writer.NewDigester(), 0
	b := newBench(t, writer.Options{Grace: time.Hour, Digest: func() *writer.Digester {
		if files++; files == 2 {
			return d
		}
		return nil
	}})
	for range 3 {
		b.write(3, 1000)
		b.Rotate(ledger.ReasonSignal)
	}
	all := b.close()
	b.account(all)
	if n := checkDigests(t, b.files, all); len(all) != 3 || n != 1 || all[1].Digest == nil || b.Stats().Undigested != 0 {
		t.Errorf("%d digests: %+v", n, b.Stats())
	}
}
