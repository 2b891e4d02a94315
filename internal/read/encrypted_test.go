package read

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"capd/crypt"
	"capd/pcap"

	"filippo.io/age"
)

// An encryptedFile is a capture that is written piece by piece.
type encryptedFile struct {
	path   string
	keys   crypt.Identities
	pieces [][]byte // the first is the header
	ends   []int    // how many packets are whole when so many pieces are there
}

func newEncryptedFile(t *testing.T, packets int) *encryptedFile {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	r, err := crypt.ParseRecipients([]string{id.Recipient().String()})
	if err != nil {
		t.Fatal(err)
	}
	begin, key, err := r.Begin()
	if err != nil {
		t.Fatal(err)
	}
	enc := pcap.NewEncoder(pcap.Header{Format: pcap.PCAPNG, LinkType: pcap.LinkTypeEthernet, Interface: "eth0"})
	plain := bytes.Clone(enc.Header())
	var ends []int
	buf := make([]byte, 4096)
	for i := range packets {
		n, _ := enc.Encode(buf, []pcap.Packet{{Data: bytes.Repeat([]byte{byte(i)}, 1000), Length: 1000, Sec: 1000, Nsec: uint32(i)}})
		plain = append(plain, buf[:n]...)
		ends = append(ends, len(plain))
	}
	f := &encryptedFile{path: filepath.Join(t.TempDir(), "x.pcapng.age"), keys: crypt.Identities{id}, pieces: [][]byte{begin}, ends: []int{0}}
	s := crypt.NewSealer(key)
	for number, at := int64(0), 0; at < len(plain); number++ {
		end := min(at+crypt.PieceSize, len(plain))
		f.pieces = append(f.pieces, s.Seal(nil, number, plain[at:end], end == len(plain)))
		at = end
		whole := 0
		for whole < len(ends) && ends[whole] <= end {
			whole++
		}
		f.ends = append(f.ends, whole)
	}
	return f
}

// write puts the first pieces into the file, and some bytes of the next one.
func (f *encryptedFile) write(t *testing.T, pieces, more int) {
	t.Helper()
	b := bytes.Join(f.pieces[:pieces], nil)
	if pieces < len(f.pieces) {
		b = append(b, f.pieces[pieces][:min(more, len(f.pieces[pieces]))]...)
	}
	h, err := os.OpenFile(f.path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if _, err := h.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
}

// readAllOf returns how many packets there are, and the error behind them.
func readAllOf(f *File) (n int, err error) {
	for {
		if _, err := f.Next(); err != nil {
			return n, err
		}
		n++
	}
}

// TestEncryptedGrowing: of an encrypted file that grows, all whole packets of whole pieces are read; without Growing it is said that it has no
// end; as a stream too.
func TestEncryptedGrowing(t *testing.T) {
	f := newEncryptedFile(t, 300)
	last := len(f.pieces) - 1
	for pieces := range f.pieces {
		for _, more := range []int{0, 1, 5000} {
			f.write(t, pieces, more)
			src, err := Open(f.path, Options{Growing: true, Identities: f.keys})
			if err != nil {
				t.Fatal(err)
			}
			want := 0
			if pieces > 0 {
				want = f.ends[pieces-1]
			}
			if n, err := readAllOf(src); n != want || err != io.EOF {
				t.Errorf("%d pieces and %d bytes: %d packets, %v; %d were expected", pieces, more, n, err, want)
			}
			src.Close()
			if pieces == 0 {
				continue
			}
			src, err = Open(f.path, Options{Identities: f.keys})
			if err != nil {
				t.Fatal(err)
			}
			if n, err := readAllOf(src); n != want || !errors.Is(err, crypt.ErrCut) || !strings.Contains(err.Error(), f.path) {
				t.Errorf("%d pieces and %d bytes: %d packets, %v; %d were expected", pieces, more, n, err, want)
			}
			src.Close()
		}
	}
	f.write(t, last+1, 0)
	h, err := os.Open(f.path)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if n, err := readAllOf(New("-", h, Options{Identities: f.keys})); n != 300 || err != io.EOF {
		t.Errorf("a stream: %d packets, %v", n, err)
	}
	for _, keys := range []crypt.Identities{nil, newEncryptedFile(t, 1).keys} {
		if _, err := Open(f.path, Options{Identities: keys}); !IsLocked(err) || len(err.(*EncryptedError).Hints()) == 0 {
			t.Errorf("without the key: %v", err)
		}
		if _, err := h.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		if _, err := New("-", h, Options{Identities: keys}).Next(); !IsLocked(err) {
			t.Errorf("a stream without the key: %v", err)
		}
	}
}

// TestEncryptedFollow: who follows an encrypted file gets each packet as soon as its piece is there, and the last ones at its end.
func TestEncryptedFollow(t *testing.T) {
	f := newEncryptedFile(t, 300)
	f.write(t, 0, 0)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	src, err := Open(f.path, Options{Follow: ctx, Identities: f.keys})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	got := 0
	for pieces := 1; pieces <= len(f.pieces); pieces++ {
		f.write(t, pieces, 5000)
		for got < f.ends[pieces-1] {
			if _, err := src.Next(); err != nil {
				t.Fatalf("%d pieces: after %d packets of %d: %v", pieces, got, f.ends[pieces-1], err)
			}
			got++
		}
	}
	if err := os.Rename(f.path, f.path+".finished"); err != nil {
		t.Fatal(err)
	}
	if _, err := src.Next(); err != io.EOF || got != 300 {
		t.Errorf("%d packets, %v", got, err)
	}
}
