// Package seal makes recordings tamper-evident: digests of files, a log of the
// ledger's lines with signed checkpoints, and keys that evolve. docs/seal.md has
// the format.
package seal

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
)

// A file's digest is the root of a Merkle tree as in RFC 6962 (SHA-256): its
// leaves are the pieces of the file, each of PieceSize bytes but for the last.
const (
	PieceSize = 1024
	HashSize  = sha256.Size
)

// What comes before the bytes that are hashed, so that no leaf is taken for an
// inner node.
const (
	leafPrefix = 0
	nodePrefix = 1
)

var leafStart = []byte{leafPrefix}

// A Hash is a SHA-256 hash.
type Hash [HashSize]byte

// String returns the hash in base64, as checkpoints have it.
func (h Hash) String() string { return base64.StdEncoding.EncodeToString(h[:]) }

// ParseHash is the inverse of String.
func ParseHash(s string) (Hash, error) {
	var h Hash
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != HashSize || len(s) != base64.StdEncoding.EncodedLen(HashSize) {
		return Hash{}, errors.New("not a SHA-256 hash in base64")
	}
	copy(h[:], b)
	return h, nil
}

// A Digest says what the bytes of a file are.
type Digest struct {
	Size int64
	Root Hash
}

// LeafHash is the hash of a leaf: of a piece of a file, or of a line.
func LeafHash(data []byte) Hash {
	h := sha256.New()
	h.Write(leafStart)
	h.Write(data)
	return Hash(h.Sum(nil))
}

// NodeHash is the hash of the node above two others.
func NodeHash(left, right Hash) Hash {
	var b [1 + 2*HashSize]byte
	b[0] = nodePrefix
	copy(b[1:], left[:])
	copy(b[1+HashSize:], right[:])
	return sha256.Sum256(b[:])
}

// A Frontier is a Merkle tree that grows at its end: the roots of the perfect
// trees that its leaves make up, the largest first. The zero value is the empty
// tree.
type Frontier struct {
	n     int64
	roots []Hash // one for each bit that is set in n
}

// Len returns how many leaves there are.
func (f *Frontier) Len() int64 { return f.n }

// Append adds a leaf.
func (f *Frontier) Append(leaf Hash) {
	for bits := f.n; bits&1 == 1; bits >>= 1 {
		last := len(f.roots) - 1
		leaf = NodeHash(f.roots[last], leaf)
		f.roots = f.roots[:last]
	}
	f.roots = append(f.roots, leaf)
	f.n++
}

// Root returns the root of the tree.
func (f *Frontier) Root() Hash {
	if len(f.roots) == 0 {
		return sha256.Sum256(nil)
	}
	root := f.roots[len(f.roots)-1]
	for i := len(f.roots) - 2; i >= 0; i-- {
		root = NodeHash(f.roots[i], root)
	}
	return root
}

// Clone returns a copy that grows on its own.
func (f *Frontier) Clone() Frontier {
	return Frontier{n: f.n, roots: append([]Hash(nil), f.roots...)}
}

// A Tree digests bytes that come one after the other. The zero value has seen
// none.
type Tree struct {
	whole Frontier  // of whole pieces
	size  int64     // bytes seen
	piece hash.Hash // of the piece that is not whole yet; nil at first
	sum   [HashSize]byte
}

// Write adds bytes. It never fails.
func (t *Tree) Write(p []byte) (int, error) {
	if t.piece == nil {
		t.piece = sha256.New()
	}
	for rest := p; len(rest) > 0; {
		have := int(t.size % PieceSize)
		if have == 0 {
			t.piece.Reset()
			t.piece.Write(leafStart)
		}
		n := min(PieceSize-have, len(rest))
		t.piece.Write(rest[:n])
		rest, t.size = rest[n:], t.size+int64(n)
		if have+n == PieceSize {
			t.piece.Sum(t.sum[:0])
			t.whole.Append(t.sum)
		}
	}
	return len(p), nil
}

// Size returns how many bytes were written.
func (t *Tree) Size() int64 { return t.size }

// Root returns the root of the bytes so far, and how many they are. More may be
// written afterwards.
func (t *Tree) Root() (Hash, int64) {
	if t.size%PieceSize == 0 {
		return t.whole.Root(), t.size
	}
	t.piece.Sum(t.sum[:0])
	all := t.whole.Clone()
	all.Append(t.sum)
	return all.Root(), t.size
}

// Digest returns Root as a Digest.
func (t *Tree) Digest() Digest {
	root, size := t.Root()
	return Digest{Size: size, Root: root}
}

// DigestOf digests what a reader has.
func DigestOf(r io.Reader) (Digest, error) {
	var t Tree
	if _, err := io.CopyBuffer(struct{ io.Writer }{&t}, struct{ io.Reader }{r}, make([]byte, 1<<20)); err != nil {
		return Digest{}, err
	}
	return t.Digest(), nil
}

// DigestFile digests a file as it is on the disk.
func DigestFile(path string) (Digest, error) {
	f, err := os.Open(path)
	if err != nil {
		return Digest{}, err
	}
	defer f.Close()
	d, err := DigestOf(f)
	if err != nil {
		return Digest{}, fmt.Errorf("digest %s: %w", path, err)
	}
	return d, nil
}
