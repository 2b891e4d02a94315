package writer

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"capd/crypt"
	"capd/ledger"
	"capd/pcap"

	"filippo.io/age"
)

func newKey(t testing.TB) (*age.X25519Identity, *crypt.Recipients) {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	r, err := crypt.ParseRecipients([]string{id.Recipient().String()})
	if err != nil {
		t.Fatal(err)
	}
	return id, r
}

// killedRecipients returns for whom TestKilledWriterChild encrypts, and has it note what it encrypts.
func killedRecipients(t *testing.T, dir string) *crypt.Recipients {
	key := os.Getenv("CAPD_TEST_RECIPIENT")
	if key == "" {
		return nil
	}
	r, err := crypt.ParseRecipients([]string{key})
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.OpenFile(filepath.Join(dir, "pieces"), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	sealsPiece = func(f *file, number int64, piece []byte, last bool) {
		fmt.Fprintf(log, "%x-%d-%v %x\n", f.record.key, number, last, sha256.Sum256(piece))
	}
	return r
}

// TestKilledSealed is TestKilledWriter with encrypted files. Besides, no piece is ever encrypted twice with different
// bytes under one key.
func TestKilledSealed(t *testing.T) {
	id, _ := newKey(t)
	t.Run("any moment", func(t *testing.T) { testKilled(t, 60, id, anyMoment) })
	t.Run("any step", func(t *testing.T) { testKilled(t, 150, id, nil) })
}

// checkPieces fails the test if a piece was encrypted with different bytes.
func checkPieces(t *testing.T, dir string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "pieces"))
	if err != nil {
		t.Fatal(err)
	}
	seen, again := make(map[string]string), 0
	for line := range strings.Lines(string(b)) {
		place, sum, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || len(sum) != 2*sha256.Size {
			continue // it was killed amid the line
		}
		if before, ok := seen[place]; ok && before != sum {
			t.Errorf("a piece was encrypted with different bytes: %s", place)
		} else if ok {
			again++
		}
		seen[place] = sum
	}
	t.Logf("%d pieces, %d of them encrypted again", len(seen), again)
}

// TestKeyIsWiped: the key of a file is in the journal while the file grows, for a process that goes on with it, and nowhere in it once the file is
// finished.
func TestKeyIsWiped(t *testing.T) {
	_, recipients := newKey(t)
	l := newLine(t, Options{Recipients: recipients, FlushInterval: time.Millisecond})
	w := l.next()
	w.Write(some(200))
	w.Commit(1, 200, 0)
	l.kill(w)
	w = l.next()
	key := w.file.record.key
	if key == (crypt.Key{}) || !bytes.Contains(l.mem, key[:]) {
		t.Fatal("the key of a file that grows is not in the journal")
	}
	w.Rotate(ledger.ReasonSignal)
	l.close(w)
	if bytes.Contains(l.mem, key[:]) {
		t.Error("the key of a finished file is in the journal")
	}
}

// opened returns what is encrypted in a file.
func opened(t *testing.T, path string, id *age.X25519Identity) []byte {
	t.Helper()
	h, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	r, err := age.Decrypt(h, id)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("%s: after %d bytes: %v", path, len(b), err)
	}
	return b
}

// TestSealed: an encrypted file has what the plain one has, byte for byte, whatever its format, its size and the way it gets
// to the disk; its report says how many bytes are on the disk, which are no more than RotateSize; and nothing on the
// disk is plaintext.
func TestSealed(t *testing.T) {
	id, recipients := newKey(t)
	for _, format := range []pcap.Format{pcap.PCAP, pcap.PCAPNG} {
		for _, direct := range []bool{true, false} {
			for _, rotate := range []int64{0, 300_000, 1 << 20} {
				for _, n := range []int{1, 100, 3000} {
					name := fmt.Sprintf("%v direct=%v rotate=%d n=%d", format, direct, rotate, n)
					plain := recordAll(t, Options{NoDirect: !direct, RotateSize: rotate, Header: pcap.Header{Format: format}}, n)
					sealed := recordAll(t, Options{NoDirect: !direct, RotateSize: rotate, Header: pcap.Header{Format: format}, Recipients: recipients}, n)
					var a, b []byte
					for _, f := range plain {
						a = append(a, packetBytes(t, mustRead(t, f.Path))...)
					}
					for _, f := range sealed {
						raw := mustRead(t, f.Path)
						if f.Err != nil || int64(len(raw)) != f.Size || rotate > 0 && f.Size > rotate || !f.Name.Encrypted || !strings.HasSuffix(f.Path, f.Name.String()) {
							t.Errorf("%s: %s has %d bytes: %+v", name, f.Path, len(raw), f)
						}
						if bytes.Contains(raw, marker) {
							t.Errorf("%s: %s has plaintext", name, f.Path)
						}
						b = append(b, packetBytes(t, opened(t, f.Path, id))...)
					}
					if !bytes.Equal(a, b) || len(a) == 0 {
						t.Errorf("%s: %d bytes of packets encrypted, and %d plain", name, len(b), len(a))
					}
				}
			}
		}
	}
}

var marker = []byte("what nobody may read")

func mustRead(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// packetBytes returns the bytes of all packets.
func packetBytes(t *testing.T, file []byte) (all []byte) {
	t.Helper()
	r, err := pcap.NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	for {
		p, err := r.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p.Data...)
	}
}

// recordAll records n packets with flushes in between, and returns the reports of the files.
func recordAll(t *testing.T, opt Options, n int) (all []File) {
	t.Helper()
	opt.Directory, opt.FlushInterval = t.TempDir(), time.Millisecond
	opt.Header.Interface, opt.Header.LinkType = "eth0", pcap.LinkTypeEthernet
	opt.ChunkSize, opt.PoolSize = 512<<10, 4<<20
	opt.Finished = func(f File) { all = append(all, f) }
	w, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		data := append(bytes.Clone(marker), bytes.Repeat([]byte{byte(i), byte(i >> 8)}, i*37%700)...)
		w.Tick(noon.Add(time.Duration(i)*time.Millisecond), time.Duration(i)*time.Millisecond)
		w.Write([]pcap.Packet{{Data: data, Length: uint32(len(data)), Sec: uint32(noon.Unix()), Nsec: uint32(i)}})
	}
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return all
}

// TestSealedSizes: files whose bytes are whole pieces, chunks, or one more or less.
func TestSealedSizes(t *testing.T) {
	id, recipients := newKey(t)
	const header = 24 // of pcap
	for _, size := range []int{crypt.PieceSize, 2 * crypt.PieceSize, 512 << 10, 1 << 20} {
		for _, more := range []int{-1, 0, 1} {
			var all []File
			w, err := New(Options{
				Directory: t.TempDir(), Header: pcap.Header{Format: pcap.PCAP, LinkType: pcap.LinkTypeEthernet, Interface: "eth0"},
				ChunkSize: 512 << 10, PoolSize: 4 << 20, Recipients: recipients, FlushInterval: time.Millisecond, Finished: func(f File) { all = append(all, f) },
			})
			if err != nil {
				t.Fatal(err)
			}
			for left, i := size+more-header, 0; left > 0; i++ {
				n := min(left-16, 5000)
				if rest := left - 16 - n; 0 < rest && rest <= 16 {
					n -= 20
				}
				left -= n + 16
				w.Tick(noon, time.Duration(i)*time.Millisecond)
				w.Write([]pcap.Packet{{Data: bytes.Repeat([]byte{byte(i)}, n), Length: uint32(n), Sec: uint32(noon.Unix())}})
			}
			if err := w.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			if b := opened(t, all[0].Path, id); len(b) != size+more {
				t.Errorf("%d bytes, and %d were recorded", len(b), size+more)
			}
		}
	}
}
