package afpacket

import (
	"encoding/hex"
	"reflect"
	"testing"
)

// diagAnswer is what Linux 6.18 said of a ring of 4 blocks on the interface 2 in promiscuous mode, on a
// little-endian machine.
const diagAnswer = "" +
	"11030300790e22004d4d0000000000001c00000002000000020000000400000000000000000000000100000008000500" +
	"000000003000010002000000010000000100000000000000000000000000000000000000000000000000000000000000" +
	"0000000020000200000001000400000000080000800000000a0000000000000000000000"

func TestParseDiag(t *testing.T) {
	b, err := hex.DecodeString(diagAnswer)
	if err != nil {
		t.Fatal(err)
	}
	if host.Uint16([]byte{1, 0}) != 1 {
		t.Skip("the answer is little-endian")
	}
	want := diagnosis{
		inode: 2231929, version: 2, reserve: tagLen, promiscuous: []uint32{2},
		ring: geometry{blockSize: 65536, blocks: 4, timeout: 10},
	}
	d, err := parseDiag(b)
	if err != nil || !reflect.DeepEqual(d, want) {
		t.Errorf("%+v, %v, want %+v", d, err, want)
	}
	for n := range b {
		if d, err := parseDiag(b[:n]); err == nil && reflect.DeepEqual(d, want) {
			t.Errorf("the first %d bytes say all", n)
		}
	}
}

func FuzzDiag(f *testing.F) {
	b, err := hex.DecodeString(diagAnswer)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:diagMessage])
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := parseDiag(b)
		if len(d.promiscuous) > len(b)/memberLen {
			t.Fatalf("%d members in %d bytes, %v", len(d.promiscuous), len(b), err)
		}
	})
}
