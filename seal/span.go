package seal

import (
	"crypto/sha256"
	"hash"
	"slices"
)

// A Span is a part of a file, digested by itself, so that the parts of a file can be digested in any
// order. It is the roots of the perfect trees that the whole pieces in it make up, and at both ends
// the bytes of pieces that are not whole: fewer than PieceSize each.
type Span struct {
	begin, end int64 // in the file
	head       []byte
	trees      []perfect
	tail       []byte
	piece      hash.Hash
}

// A perfect tree has 2^level leaves, in front of which there are number times as many.
type perfect struct {
	level  int
	number int64
	root   Hash
}

// NewSpan returns a Span without bytes that begins at the offset of the file.
func NewSpan(begin int64) *Span {
	return &Span{begin: begin, end: begin, piece: sha256.New()}
}

// Write adds bytes at the end. It never fails.
func (s *Span) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		// One piece at most, up to the end of which there are so many bytes.
		n := min(PieceSize-int(s.end%PieceSize), len(rest))
		one := rest[:n]
		rest, s.end = rest[n:], s.end+int64(n)
		switch {
		case n == PieceSize:
			s.leaf(one)
		case s.begin%PieceSize != 0 && (s.end-1)/PieceSize == s.begin/PieceSize:
			s.head = append(s.head, one...)
		default:
			s.tail = append(s.tail, one...)
			if len(s.tail) == PieceSize {
				s.leaf(s.tail)
				s.tail = s.tail[:0]
			}
		}
	}
	return len(p), nil
}

// leaf adds the hash of the whole piece that ends at the end.
func (s *Span) leaf(piece []byte) {
	t := perfect{number: s.end/PieceSize - 1}
	s.piece.Reset()
	s.piece.Write(leafStart)
	s.piece.Write(piece)
	s.piece.Sum(t.root[:0])
	s.push(t)
}

// push adds a tree that follows those that are there. Two that are the halves of a larger one become it.
func (s *Span) push(t perfect) {
	for last := len(s.trees) - 1; last >= 0 && t.number%2 == 1 && s.trees[last].level == t.level; last-- {
		t = perfect{t.level + 1, t.number / 2, NodeHash(s.trees[last].root, t.root)}
		s.trees = s.trees[:last]
	}
	s.trees = append(s.trees, t)
}

// join adds a Span that begins at the end.
func (s *Span) join(next *Span) {
	_, _ = s.Write(next.head)
	for _, t := range next.trees {
		s.push(t)
	}
	s.end = next.end - int64(len(next.tail))
	_, _ = s.Write(next.tail)
}

// root returns the root of the tree, if the Span is a whole file.
func (s *Span) root() Hash {
	trees := s.trees
	if len(s.tail) > 0 {
		trees = append(slices.Clip(trees), perfect{root: LeafHash(s.tail)})
	}
	if len(trees) == 0 {
		return sha256.Sum256(nil)
	}
	root := trees[len(trees)-1].root
	for i := len(trees) - 2; i >= 0; i-- {
		root = NodeHash(trees[i].root, root)
	}
	return root
}

// Spans are parts of one file that come in any order. The zero value has none.
type Spans struct {
	parts []*Span // in their order, with bytes missing between them
}

// Add adds a part, which is not used otherwise from then on.
func (s *Spans) Add(part *Span) {
	if part.begin == part.end {
		return
	}
	at, _ := slices.BinarySearchFunc(s.parts, part.begin, func(p *Span, begin int64) int { return int(min(1, max(-1, p.begin-begin))) })
	s.parts = slices.Insert(s.parts, at, part)
	if at+1 < len(s.parts) && part.end == s.parts[at+1].begin {
		part.join(s.parts[at+1])
		s.parts = slices.Delete(s.parts, at+1, at+2)
	}
	if at > 0 && s.parts[at-1].end == part.begin {
		s.parts[at-1].join(part)
		s.parts = slices.Delete(s.parts, at, at+1)
	}
}

// Digest returns the digest of a file of that size. It returns false if the parts are not all of it, each byte once.
func (s *Spans) Digest(size int64) (Digest, bool) {
	whole := NewSpan(0)
	switch {
	case len(s.parts) == 1:
		whole = s.parts[0]
	case len(s.parts) > 1:
		return Digest{}, false
	}
	if whole.begin != 0 || whole.end != size {
		return Digest{}, false
	}
	return Digest{Size: size, Root: whole.root()}, true
}
