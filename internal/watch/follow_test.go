package watch

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"capd/internal/terminal"
	"capd/pcap"
	"capd/store"

	"github.com/klauspost/compress/zstd"
)

// numbered is a frame that tells its number by a port.
func numbered(n int) []byte {
	frame := append(make([]byte, 12), 8, 0, 0x45, 0, 0, 28, 0, 7, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2)
	frame = binary.BigEndian.AppendUint16(frame, 1)
	return append(binary.BigEndian.AppendUint16(frame, uint16(n)), 0, 8, 0, 0)
}

// A rotator writes files as a recorder does.
type rotator struct {
	t        *testing.T
	dir      string
	enc      *pcap.Encoder
	sequence uint64
	packets  int
	h        *os.File
}

func newRotator(t *testing.T, f pcap.Format) *rotator {
	return &rotator{t: t, dir: t.TempDir(), enc: pcap.NewEncoder(pcap.Header{Format: f, LinkType: pcap.LinkTypeEthernet, Interface: "eth0"})}
}

func (r *rotator) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rotator) finished() string {
	n := store.Name{Interface: "eth0", Start: time.Unix(int64(1e9+r.sequence), 0), Sequence: r.sequence, Format: r.enc.Format()}
	return filepath.Join(r.dir, n.String())
}

// begin begins a file, and returns its path.
func (r *rotator) begin() string {
	r.sequence++
	var err error
	r.h, err = os.Create(r.finished() + store.Partial)
	r.must(err)
	_, err = r.h.Write(r.enc.Header())
	r.must(err)
	return r.h.Name()
}

// write writes packets, a record in two parts each.
func (r *rotator) write(n int) {
	record := make([]byte, r.enc.MaxRecord())
	for range n {
		r.packets++
		frame := numbered(r.packets)
		size, _ := r.enc.Encode(record, []pcap.Packet{{Data: frame, Length: uint32(len(frame)), Sec: 1e9, Nsec: uint32(r.packets)}})
		for _, part := range [][]byte{record[:size/2], record[size/2 : size]} {
			_, err := r.h.Write(part)
			r.must(err)
		}
	}
}

func (r *rotator) finish() string {
	r.must(os.Rename(r.h.Name(), r.finished()))
	r.must(r.h.Close())
	return r.finished()
}

func (r *rotator) compress(path string) string {
	b, err := os.ReadFile(path)
	r.must(err)
	enc, err := zstd.NewWriter(nil)
	r.must(err)
	r.must(os.WriteFile(path+".zst.tmp", enc.EncodeAll(b, nil), 0o600))
	r.must(os.Rename(path+".zst.tmp", path+".zst"))
	r.must(os.Remove(path))
	return path + ".zst"
}

// A syncBuffer is written and read by several goroutines.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// follow follows the last file while do goes on, and a minute more.
func follow(t *testing.T, paths []string, do func()) (shown, said string, err error) {
	var out, errs syncBuffer
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		o := Options{Files: paths, Follow: true, Snaplen: 1000, Style: Style{Stamp: StampNone}}
		ended <- newWatcher(o, &out, terminal.NewScreen(&errs), func() {}).run(ctx, nil)
	}()
	synctest.Wait()
	do()
	time.Sleep(time.Minute)
	cancel()
	err = <-ended
	return out.String(), errs.String(), err
}

// numbersOf are the ports of the packets that are shown, which are all numbers
// between two, each once.
func numbersOf(t *testing.T, shown string, gone map[int]bool, last int) {
	t.Helper()
	var want strings.Builder
	for n := 1; n <= last; n++ {
		if !gone[n] {
			fmt.Fprintln(&want, n)
		}
	}
	var got strings.Builder
	for _, m := range regexp.MustCompile(`> 10\.0\.0\.2:(\d+),`).FindAllStringSubmatch(shown, -1) {
		fmt.Fprintln(&got, m[1])
	}
	if got.String() != want.String() {
		t.Errorf("shown are %d packets of %d:\n%s", strings.Count(got.String(), "\n"), last, strings.ReplaceAll(got.String(), "\n", " "))
	}
}

// TestFollowRotation: nothing is lost and nothing shown twice, however fast files
// are rotated, and though they are compressed and deleted once they are open.
func TestFollowRotation(t *testing.T) {
	for _, format := range []pcap.Format{pcap.PCAP, pcap.PCAPNG} {
		for name, pause := range map[string]time.Duration{"at once": 0, "fast": 3 * time.Millisecond, "slowly": 700 * time.Millisecond} {
			t.Run(fmt.Sprint(format, " ", name), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newRotator(t, format)
					path := r.begin()
					shown, said, err := follow(t, []string{path}, func() {
						for i := range 100 {
							r.write(i % 7)
							time.Sleep(pause)
							r.write(1)
							switch path := r.finish(); i % 3 {
							case 0:
								path = r.compress(path)
								if pause > 500*time.Millisecond {
									r.must(os.Remove(path)) // it was open by then
								}
							case 1:
								r.compress(path)
							}
							if i%5 == 0 {
								time.Sleep(pause)
							}
							r.begin()
						}
						r.write(3)
					})
					if err != nil || said != fmt.Sprintf("%d packets shown\n", r.packets) {
						t.Errorf("%v, %s", err, said)
					}
					numbersOf(t, shown, nil, r.packets)
				})
			})
		}
	}
}

// TestFollowGaps: files that were deleted before they could be read are told, what
// is damaged is shown up to there, and both are no reason to end.
func TestFollowGaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRotator(t, pcap.PCAPNG)
		path := r.begin()
		shown, said, err := follow(t, []string{path}, func() {
			r.write(2)
			r.finish()
			for range 3 {
				r.begin()
				r.write(2)
				r.must(os.Remove(r.finish()))
			}
			r.begin()
			r.write(2)
			_, err := r.h.Write([]byte("this is no block of pcapng, of whatever kind, and never was"))
			r.must(err)
			r.must(os.Rename(r.finish(), r.finished()+store.DamagedExt))
			r.begin()
			r.write(2)
		})
		numbersOf(t, shown, map[int]bool{3: true, 4: true, 5: true, 6: true, 7: true, 8: true}, r.packets)
		if !strings.Contains(said, "capd: 3 files after eth0-20010909T014641Z-000001.pcapng, and before eth0-20010909T014645Z-000005.pcapng: deleted") ||
			!strings.Contains(said, "corrupt at byte ") || !errors.Is(err, ErrReported) {
			t.Errorf("%v, %s", err, said)
		}
	})
}

// TestFollowLast: of several files the last one is followed, and the others are
// shown as they are.
func TestFollowLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, last := newRotator(t, pcap.PCAPNG), newRotator(t, pcap.PCAPNG)
		paths := []string{first.begin(), last.begin()}
		first.write(2)
		last.packets = 2
		shown, said, err := follow(t, paths, func() {
			last.write(2)
			last.finish()
			last.begin()
			last.write(1)
		})
		numbersOf(t, shown, nil, 5)
		if err != nil || said != "5 packets shown\n" {
			t.Errorf("%v, %s", err, said)
		}
		first.must(first.h.Close())
	})
}
