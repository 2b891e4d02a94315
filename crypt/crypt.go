// Package crypt encrypts capture files as age files (https://age-encryption.org/v1) while they
// grow, and reads them while they grow and when their end is missing.
//
// An age file is a header, which has the file's key encrypted for each recipient, a nonce of 16
// bytes, and the payload. The payload is pieces of 64 KiB, each encrypted by ChaCha20-Poly1305 into
// 16 bytes more, under a key that is derived from the file's key and the nonce. A piece's nonce is
// its number, and a flag that only the last piece has, which may be shorter. So where a piece lies
// follows from its number, pieces can be encrypted in any order, and whole ones can be told from the
// size of a file without a key.
//
// Package age writes and reads streams from their begin to their end. This package has the payload
// again because a recorder writes several parts of a file at once, goes on with a file in another
// process, and loses the end of a file when it is killed. The header is that package's.
//
// A piece must never be encrypted twice with different bytes: the two together would give them
// away, and let anybody forge that piece. Whoever calls Seal again for a piece has the same bytes.
package crypt

import (
	"bytes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"golang.org/x/crypto/chacha20poly1305"
)

// PieceSize is how many bytes are encrypted together. Only the last piece of a file has fewer.
const PieceSize = 64 << 10

const (
	tagSize    = chacha20poly1305.Overhead
	sealedSize = PieceSize + tagSize // of a whole piece in the file
	nonceSize  = 16                  // of the payload
	magic      = "age-encryption.org/v1\n"
	maxHeader  = 4 << 20 // bytes: more than any number of recipients that makes sense
)

// A Key encrypts and decrypts the payload of one file.
type Key [chacha20poly1305.KeySize]byte

// Recipients are those who can decrypt a file.
type Recipients struct {
	list []age.Recipient
	size int64
}

// ParseRecipients parses public keys: age1..., age1pq1..., "ssh-ed25519 ..." and "ssh-rsa ...".
func ParseRecipients(keys []string) (*Recipients, error) {
	r := new(Recipients)
	for _, s := range keys {
		one, err := parseRecipient(s)
		if err != nil {
			return nil, err
		}
		r.list = append(r.list, one)
	}
	if len(r.list) == 0 {
		return nil, errors.New("no recipient")
	}
	begin, _, err := r.Begin() // what can't be mixed is found here
	if err != nil {
		return nil, err
	}
	r.size = int64(len(begin))
	return r, nil
}

func parseRecipient(s string) (one age.Recipient, err error) {
	switch {
	case strings.HasPrefix(strings.ToUpper(s), "AGE-SECRET-KEY-"), strings.HasPrefix(s, "-----BEGIN"):
		return nil, errors.New("this is a private key: keep it off this machine, and give its public key here")
	case strings.HasPrefix(s, "ssh-"):
		one, err = agessh.ParseRecipient(s)
	case strings.HasPrefix(s, "age1pq1"):
		one, err = age.ParseHybridRecipient(s)
	case strings.HasPrefix(s, "age1"):
		one, err = age.ParseX25519Recipient(s)
	default:
		err = errors.New("neither a public key of age nor one of ssh")
	}
	if err != nil {
		return nil, fmt.Errorf("recipient %q: %w", clip(s), err)
	}
	return one, nil
}

func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "..."
	}
	return s
}

// RecipientLines returns the public keys in a file of them: one a line, but for empty lines and those
// that begin with #.
func RecipientLines(text string) (keys []string) {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			keys = append(keys, line)
		}
	}
	return keys
}

// Begin returns what a new file begins with, its header and its nonce, and the key of its payload.
// Nobody but the recipients can get the key from the begin.
func (r *Recipients) Begin() (begin []byte, key Key, err error) {
	var b bytes.Buffer
	first := &witness{Recipient: r.list[0]}
	if _, err := age.Encrypt(&b, append([]age.Recipient{first}, r.list[1:]...)...); err != nil {
		return nil, Key{}, err
	}
	begin = b.Bytes()
	key, err = payloadKey(first.fileKey, begin[len(begin)-nonceSize:])
	return begin, key, err
}

// Size returns how many bytes Begin returns.
func (r *Recipients) Size() int64 { return r.size }

// A witness is a recipient that keeps the file's key, which package age does not tell.
type witness struct {
	age.Recipient
	fileKey []byte
}

// WrapWithLabels does what the recipient does.
func (w *witness) WrapWithLabels(fileKey []byte) ([]*age.Stanza, []string, error) {
	w.fileKey = bytes.Clone(fileKey)
	if r, ok := w.Recipient.(age.RecipientWithLabels); ok {
		return r.WrapWithLabels(fileKey)
	}
	stanzas, err := w.Recipient.Wrap(fileKey)
	return stanzas, nil, err
}

func payloadKey(fileKey, nonce []byte) (Key, error) {
	b, err := hkdf.Key(sha256.New, fileKey, nonce, "payload", len(Key{}))
	if err != nil {
		return Key{}, err
	}
	return Key(b), nil
}

// A Sealer encrypts and decrypts pieces. It is safe for use by several goroutines.
type Sealer struct{ aead cipher.AEAD }

// NewSealer returns a Sealer for a file.
func NewSealer(key Key) *Sealer {
	aead, err := chacha20poly1305.New(key[:])
	if err != nil {
		panic(err) // the key has the only size that there is
	}
	return &Sealer{aead}
}

// Seal appends the piece of that number, encrypted. All pieces but the last have PieceSize bytes.
func (s *Sealer) Seal(to []byte, number int64, piece []byte, last bool) []byte {
	nonce := nonceOf(number, last)
	return s.aead.Seal(to, nonce[:], piece, nil)
}

// open decrypts a piece to the begin of a buffer.
func (s *Sealer) open(to []byte, number int64, sealed []byte, last bool) ([]byte, error) {
	nonce := nonceOf(number, last)
	return s.aead.Open(to[:0], nonce[:], sealed, nil)
}

// nonceOf returns a piece's nonce: 11 bytes of its number, and one that says whether it is the last.
func nonceOf(number int64, last bool) (nonce [chacha20poly1305.NonceSize]byte) {
	binary.BigEndian.PutUint64(nonce[3:], uint64(number))
	if last {
		nonce[11] = 1
	}
	return nonce
}

// Offset returns where in the file the piece lies that has the byte at that offset of what is
// encrypted. begin is how many bytes there are before the payload.
func Offset(begin, plain int64) int64 { return begin + plain/PieceSize*sealedSize }

// Size returns how many bytes a whole file has of which plain bytes are encrypted.
func Size(begin, plain int64) int64 {
	return begin + plain + max(1, (plain+PieceSize-1)/PieceSize)*tagSize
}

// Plain returns how many bytes can be encrypted into a file of that size.
func Plain(begin, size int64) int64 {
	payload := max(0, size-begin)
	return payload/sealedSize*PieceSize + max(0, payload%sealedSize-tagSize)
}

// HasMagic reports whether a file that begins with these bytes is an age file. They may be fewer than
// it takes.
func HasMagic(begin []byte) bool {
	return len(begin) >= 4 && strings.HasPrefix(magic, string(begin[:min(len(begin), len(magic))]))
}

// ErrNoHeader says that a file's header is not whole, so that nothing of the file can be decrypted.
var ErrNoHeader = errors.New("its header is not whole")

// BeginSize returns how many bytes of a file of that size are before its payload. It needs no key.
func BeginSize(src io.ReaderAt, size int64) (int64, error) {
	header, err := header(src, size)
	if err != nil {
		return 0, err
	}
	if n := int64(len(header)) + nonceSize; n <= size {
		return n, nil
	}
	return 0, ErrNoHeader
}

// header returns the header of a file.
func header(src io.ReaderAt, size int64) ([]byte, error) {
	r := &failing{src: io.NewSectionReader(src, 0, min(size, maxHeader))}
	header, err := age.ExtractHeader(r)
	switch {
	case r.err != nil:
		return nil, r.err
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrNoHeader, err)
	}
	return header, nil
}

// A failing reader keeps the first error but that of the end.
type failing struct {
	src io.Reader
	err error
}

func (f *failing) Read(b []byte) (int, error) {
	n, err := f.src.Read(b)
	if err != nil && err != io.EOF && f.err == nil {
		f.err = err
	}
	return n, err
}

// Written returns up to which byte a file of that size was written without a hole from its begin on.
// It needs no key: in what is encrypted there are no zeros. Pieces before the offset known, of what
// is encrypted, are not looked at. What it returns ends with a whole piece, or else with the end of
// the file, if that may be its last piece.
func Written(src io.ReaderAt, begin, size, known int64) (int64, error) {
	buf := make([]byte, sealedSize)
	for at := Offset(begin, known); at < size; at += sealedSize {
		b := buf[:min(sealedSize, size-at)]
		if n, err := src.ReadAt(b, at); n < len(b) {
			return 0, fmt.Errorf("read at byte %d: %w", at, err)
		}
		if len(b) <= tagSize || hasHole(b, at) {
			return at, nil
		}
	}
	return size, nil
}

// block is the least that disks write at once.
const block = 512

// hasHole reports whether some block of a piece at that offset of the file has only zeros.
func hasHole(b []byte, at int64) bool {
	for len(b) > 0 {
		n := min(len(b), block-int(at%block))
		if n >= tagSize && len(bytes.TrimLeft(b[:n], "\x00")) == 0 {
			return true
		}
		b, at = b[n:], at+int64(n)
	}
	return false
}
