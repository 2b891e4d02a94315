package seal

import (
	"bytes"
	"encoding/hex"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
)

// TestVectors: the roots of RFC 6962's test vectors, by certificate-transparency-go.
func TestVectors(t *testing.T) {
	leaves := []string{"", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"}
	roots := []string{
		"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
		"fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
		"aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
		"d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
		"4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
		"76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
		"ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
		"5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
	}
	var f Frontier
	for i, want := range roots {
		if got := f.Root(); hex.EncodeToString(got[:]) != want {
			t.Errorf("%d leaves: root %x, want %s", i, got, want)
		}
		if i < len(leaves) {
			leaf, err := hex.DecodeString(leaves[i])
			if err != nil {
				t.Fatal(err)
			}
			f.Append(LeafHash(leaf))
		}
	}
}

// oracle is the root by package tlog.
func oracle(t *testing.T, data []byte) Hash {
	t.Helper()
	var hashes []tlog.Hash
	read := tlog.HashReaderFunc(func(at []int64) ([]tlog.Hash, error) {
		var got []tlog.Hash
		for _, i := range at {
			got = append(got, hashes[i])
		}
		return got, nil
	})
	n := int64(0)
	for ; len(data) > 0; n++ {
		piece := data[:min(PieceSize, len(data))]
		data = data[len(piece):]
		more, err := tlog.StoredHashes(n, piece, read)
		if err != nil {
			t.Fatal(err)
		}
		hashes = append(hashes, more...)
	}
	root, err := tlog.TreeHash(n, read)
	if err != nil {
		t.Fatal(err)
	}
	return Hash(root)
}

// TestTree: however the bytes come, the root is tlog's, and asking for it
// changes nothing.
func TestTree(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	data := make([]byte, 70*PieceSize+17)
	for i := range data {
		data[i] = byte(rng.Uint32())
	}
	for _, size := range []int{0, 1, PieceSize - 1, PieceSize, PieceSize + 1, 2 * PieceSize, 3*PieceSize + 5, 64 * PieceSize, len(data)} {
		want := Digest{Size: int64(size), Root: oracle(t, data[:size])}
		var tree Tree
		for rest := data[:size]; len(rest) > 0; {
			n := min(1+rng.IntN(3*PieceSize), len(rest))
			tree.Write(rest[:n])
			rest = rest[n:]
			tree.Root()
		}
		if got := tree.Digest(); got != want {
			t.Errorf("%d bytes: %v, want %v", size, got, want)
		}
		if got, err := DigestOf(bytes.NewReader(data[:size])); err != nil || got != want {
			t.Errorf("%d bytes read: %v %v, want %v", size, got, err, want)
		}
	}
	name := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := DigestFile(name); err != nil || got.Root != oracle(t, data) {
		t.Errorf("file: %v %v", got, err)
	}
}

func TestTreeAllocates(t *testing.T) {
	var tree Tree
	data := make([]byte, 64*PieceSize)
	tree.Write(data)
	if n := testing.AllocsPerRun(10, func() { tree.Write(data) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestParseHash(t *testing.T) {
	h := LeafHash([]byte("x"))
	if got, err := ParseHash(h.String()); err != nil || got != h {
		t.Errorf("%v %v", got, err)
	}
	for _, s := range []string{"", "AA==", h.String() + "\n", h.String()[1:]} {
		if _, err := ParseHash(s); err == nil {
			t.Errorf("%q was taken", s)
		}
	}
}

func BenchmarkTree(b *testing.B) {
	var tree Tree
	data := make([]byte, 256<<10)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		tree.Write(data)
	}
}
