package crypt

import (
	"errors"
	"fmt"
	"io"
	"math"
	"sort"
	"sync"

	"filippo.io/age"
)

// damage is an error of a file that is not whole. Other packages treat it as that of any file that ends too early.
type damage struct{ text string }

func (d *damage) Error() string        { return d.text }
func (d *damage) Is(target error) bool { return target == io.ErrUnexpectedEOF }

// Errors of encrypted files.
var (
	// ErrNoIdentity says that a file is encrypted and no private key was given.
	ErrNoIdentity = errors.New("encrypted, and no key to decrypt it was given")

	// ErrOtherKeys says that none of the private keys decrypts a file.
	ErrOtherKeys = errors.New("encrypted for other keys")

	// ErrCut says that a file has no last piece: it was salvaged, it grows still, or it was cut.
	ErrCut error = &damage{"the encrypted file has no end: it was cut, or its recorder was killed"}

	// ErrDamaged says that a piece is not as it was written, or not of this file.
	ErrDamaged error = &damage{"the encrypted file is damaged, or was changed"}
)

// A Reader decrypts a file, from any offset on. It gives whole pieces of files that have no end too.
// It is safe for use by several goroutines.
type Reader struct {
	src    io.ReaderAt
	sealer *Sealer
	begin  int64

	mu     sync.Mutex // guards the piece that was read last
	number int64      // of it; -1: none
	piece  []byte
	last   bool
	sealed []byte
}

// NewReader reads the header of a file of that size. The error wraps ErrNoIdentity, ErrOtherKeys or
// ErrNoHeader where that is the matter.
func NewReader(src io.ReaderAt, size int64, keys Identities) (*Reader, error) {
	head, err := header(src, size)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, nonceSize)
	if n, err := src.ReadAt(nonce, int64(len(head))); n < len(nonce) {
		if err == io.EOF {
			err = ErrNoHeader
		}
		return nil, err
	}
	if len(keys) == 0 {
		return nil, ErrNoIdentity
	}
	fileKey, err := age.DecryptHeader(head, keys...)
	if err != nil {
		return nil, explain(err)
	}
	key, err := payloadKey(fileKey, nonce)
	if err != nil {
		return nil, err
	}
	return &Reader{
		src: src, sealer: NewSealer(key), begin: int64(len(head)) + nonceSize,
		number: -1, piece: make([]byte, 0, PieceSize), sealed: make([]byte, sealedSize),
	}, nil
}

func explain(err error) error {
	if _, ok := errors.AsType[*age.NoIdentityMatchError](err); ok {
		return ErrOtherKeys
	}
	return fmt.Errorf("decrypt the header: %w", err)
}

// NewStream decrypts bytes from their begin on. They may have no end: then the error behind the last
// whole piece is ErrCut.
func NewStream(src io.Reader, keys Identities) (io.Reader, error) {
	if len(keys) == 0 {
		return nil, ErrNoIdentity
	}
	r, err := age.Decrypt(src, keys...)
	if err != nil {
		return nil, explain(err)
	}
	return &stream{r}, nil
}

type stream struct{ io.Reader }

func (s *stream) Read(b []byte) (int, error) {
	n, err := s.Reader.Read(b)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = ErrCut
	}
	return n, err
}

// Begin returns how many bytes of the file are before its payload.
func (r *Reader) Begin() int64 { return r.begin }

// ReadAt reads decrypted bytes. Behind the last piece the error is io.EOF. Where there is no last piece it
// is ErrCut, and where a piece is not as it was written ErrDamaged.
func (r *Reader) ReadAt(b []byte, off int64) (n int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for n < len(b) {
		at := off + int64(n)
		if err := r.load(at / PieceSize); err != nil {
			return n, err
		}
		in := int(at % PieceSize)
		if in >= len(r.piece) {
			return n, io.EOF // only the last piece is that short
		}
		n += copy(b[n:], r.piece[in:])
		if r.last && n < len(b) {
			return n, io.EOF
		}
	}
	return n, nil
}

// Whole returns up to where the file can be decrypted without a hole, and whether it ends there. It
// looks at the pieces from the one that has the byte at the offset on, and at no more of them than most.
func (r *Reader) Whole(from int64, most int) (end int64, last bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	number := from / PieceSize
	for range most {
		err := r.load(number)
		switch {
		case errors.Is(err, ErrCut), errors.Is(err, ErrDamaged), err == io.EOF: // it is not written yet
			return number * PieceSize, false, nil
		case err != nil:
			return 0, false, err
		case r.last:
			return number*PieceSize + int64(len(r.piece)), true, nil
		}
		number++
	}
	return number * PieceSize, false, nil
}

// load makes a piece the one that was read last. The caller holds mu.
func (r *Reader) load(number int64) error {
	if number == r.number {
		return nil
	}
	if r.last && number == r.number+1 {
		return io.EOF
	}
	r.number, r.last = -1, false
	n, err := r.src.ReadAt(r.sealed, r.begin+number*sealedSize)
	if err != nil && err != io.EOF {
		return err
	}
	switch {
	case n == 0 && number > 0:
		return r.loadEnd(number)
	case n <= tagSize && (n < tagSize || number > 0):
		return ErrCut
	}
	sealed := r.sealed[:n]
	if n == sealedSize {
		if piece, err := r.sealer.open(r.piece, number, sealed, false); err == nil {
			r.number, r.piece = number, piece
			return nil
		}
	}
	piece, err := r.sealer.open(r.piece, number, sealed, true)
	switch {
	case err == nil && n == sealedSize && r.more(number+1):
		return ErrDamaged // bytes behind the last piece
	case err == nil:
		r.number, r.piece, r.last = number, piece, true
		return nil
	case n < sealedSize:
		return ErrCut
	}
	return ErrDamaged
}

// loadEnd makes the piece before that number, which is behind the end, the one that was read last, and says what kind of an end
// that is.
func (r *Reader) loadEnd(number int64) error {
	end := sort.Search(int(min(number, math.MaxInt32)), func(i int) bool { return !r.more(int64(i)) }) - 1
	if end < 0 {
		return ErrCut
	}
	if err := r.load(int64(end)); err != nil {
		return err
	}
	if r.last {
		return io.EOF
	}
	return ErrCut
}

// more reports whether the file has bytes from a piece on.
func (r *Reader) more(number int64) bool {
	var one [1]byte
	n, _ := r.src.ReadAt(one[:], r.begin+number*sealedSize)
	return n > 0
}
