package writer

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"capd/crypt"
	"capd/ledger"
	"capd/pcap"
	"capd/store"
)

// TestRecoverSealed: an encrypted file that was torn at any byte, or has a hole, is finished without a key: with its whole pieces,
// and with what may be its last one.
func TestRecoverSealed(t *testing.T) {
	id, recipients := newKey(t)
	file, key, err := recipients.Begin()
	if err != nil {
		t.Fatal(err)
	}
	begin, plain := int64(len(file)), bytes.Repeat([]byte{1, 2, 3}, crypt.PieceSize)
	s := crypt.NewSealer(key)
	for i := range 3 {
		file = s.Seal(file, int64(i), plain[i*crypt.PieceSize:(i+1)*crypt.PieceSize], false)
	}
	file = s.Seal(file, 3, []byte("the end"), true)
	size, piece := int64(len(file)), crypt.Offset(0, crypt.PieceSize)
	name := store.Name{Interface: "eth0", Start: noon, Sequence: 1, Format: pcap.PCAPNG, Encrypted: true}
	point := ledger.Checkpoint{Name: name, Offset: 70_000, Packets: 7, Bytes: 700, First: noon, Last: noon.Add(5)}
	points := map[string]ledger.Entry{name.String(): point.Entry()}
	for _, one := range []struct {
		what     string
		cut      int64
		hole     int64 // the first byte of 8192 zeros; 0: none
		zeros    int   // behind
		want     int64 // bytes that stay; 0: it goes
		pieces   int
		whole    bool
		pointed  bool
		afterCut int64
	}{
		{what: "whole", cut: size, want: size, pieces: 3, whole: true},
		{what: "whole, with a checkpoint", cut: size, want: size, pieces: 3, whole: true, pointed: true},
		{what: "preallocated", cut: size - 23, zeros: 9000, want: begin + 3*piece, pieces: 3},
		{what: "torn in a piece", cut: begin + 2*piece + 5000, want: begin + 2*piece + 5000, pieces: 2},
		{what: "torn at a piece", cut: begin + 2*piece, want: begin + 2*piece, pieces: 2},
		{what: "a hole", cut: size, hole: begin + piece + 100, want: begin + piece, pieces: 1},
		{what: "a hole, with a checkpoint behind", cut: size, hole: begin + 2*piece + 100, want: begin + 2*piece, pieces: 2, pointed: true},
		{what: "a checkpoint behind the end", cut: begin + piece, want: begin + piece, pieces: 1, pointed: true},
		{what: "only the header", cut: begin},
		{what: "a torn header", cut: begin - 40},
		{what: "nothing", cut: 0},
	} {
		b := append(bytes.Clone(file[:one.cut]), make([]byte, one.zeros)...)
		if one.hole > 0 {
			clear(b[one.hole : one.hole+8192])
		}
		dir := t.TempDir()
		path := filepath.Join(dir, name.String())
		if err := os.WriteFile(path+store.Partial, b, 0o600); err != nil {
			t.Fatal(err)
		}
		var checkpoints map[string]ledger.Entry
		if one.pointed {
			checkpoints = points
		}
		all, err := recoverIn(dir, checkpoints)
		if err != nil || len(all) != 1 || all[0].Err != nil {
			t.Fatalf("%s: %+v, %v", one.what, all, err)
		}
		r := all[0]
		if r.Size != one.want || r.Size+r.Cut != int64(len(b)) || (r.Path == "") != (one.want == 0) || r.Why == "" || r.Damaged {
			t.Errorf("%s: %+v, %d bytes of %d were to stay", one.what, r, one.want, len(b))
		}
		if used := one.pointed && one.cut > begin+piece; used != (r.Packets == 7) || used != r.Last.Equal(noon.Add(5)) || r.Until().IsZero() {
			t.Errorf("%s: %+v", one.what, r)
		}
		for _, e := range r.Entries(ledger.Entry{}) {
			if e.Clean || len(e.AppendLine(nil, noon)) == 0 {
				t.Errorf("%s: %+v", one.what, e)
			}
		}
		if one.want == 0 {
			continue
		}
		h, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		rd, err := crypt.NewReader(h, r.Size, crypt.Identities{id})
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(io.NewSectionReader(rd, 0, 1<<40))
		if one.whole != (err == nil) || !one.whole && !errors.Is(err, crypt.ErrCut) || len(got)/crypt.PieceSize != one.pieces {
			t.Errorf("%s: %d bytes, %v", one.what, len(got), err)
		}
	}
}
