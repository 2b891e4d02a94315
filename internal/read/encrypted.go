package read

import (
	"errors"
	"io"
	"math"
	"os"

	"capd/crypt"
	"capd/internal/text"
	"capd/store"
)

// A content is what a file has for its readers: its bytes, or those that are encrypted in it.
type content struct {
	*os.File
	keys crypt.Identities
	r    *crypt.Reader // nil: the file is not encrypted, or it is not known yet
	end  int64         // of what is known to be whole of an encrypted file
}

// decrypt looks whether the file is encrypted, if that is not known yet.
func (c *content) decrypt() error {
	var begin [22]byte
	if c.r != nil {
		return nil
	}
	if n, _ := c.File.ReadAt(begin[:], 0); !crypt.HasMagic(begin[:n]) {
		return nil
	}
	info, err := c.Stat()
	if err == nil {
		c.r, err = crypt.NewReader(c.File, info.Size(), c.keys)
	}
	return encryptedError(c.Name(), err)
}

// ReadAt reads decrypted bytes.
func (c *content) ReadAt(b []byte, off int64) (int, error) {
	if c.r == nil {
		return c.File.ReadAt(b, off)
	}
	return c.r.ReadAt(b, off)
}

// size returns up to where the file can be read now. Of one that is encrypted it may be less than there is, but it is more
// with each call then.
func (c *content) size() (int64, error) {
	if err := c.decrypt(); err != nil {
		if errors.Is(err, crypt.ErrNoHeader) { // it is just being written
			return 0, nil
		}
		return 0, err
	}
	if c.r != nil {
		end, _, err := c.r.Whole(c.end, frontierStep/crypt.PieceSize)
		c.end = max(c.end, end)
		return c.end, err
	}
	info, err := c.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// hole returns where the first hole begins from an offset on. What is whole of an encrypted file has none.
func (c *content) hole(off, size int64) int64 {
	if c.r != nil {
		return size
	}
	return store.SeekHole(c.File, off, size)
}

// most returns the most bytes that the file can have for its readers.
func (c *content) most() int64 {
	info, err := c.Stat()
	if err != nil {
		return 0
	}
	return info.Size() // with what encryption adds, or without
}

// all reads all of it.
func (c *content) all() io.Reader {
	if c.r == nil {
		return c.File
	}
	return io.NewSectionReader(c.r, 0, math.MaxInt64)
}

// An EncryptedError says why an encrypted file can't be read.
type EncryptedError struct {
	Path string
	Err  error // crypt.ErrNoIdentity, crypt.ErrOtherKeys, or what is wrong with the file
}

func encryptedError(path string, err error) error {
	if err == nil {
		return nil
	}
	return &EncryptedError{path, err}
}

// Error names the file.
func (e *EncryptedError) Error() string { return "decrypt " + text.Name(e.Path) + ": " + e.Err.Error() }
func (e *EncryptedError) Unwrap() error { return e.Err }

// Hints says what to do about it.
func (e *EncryptedError) Hints() []string {
	switch {
	case errors.Is(e.Err, crypt.ErrNoIdentity):
		return []string{"--identity FILE names the private key of one of its recipients"}
	case errors.Is(e.Err, crypt.ErrOtherKeys):
		return []string{"none of the keys of --identity is one of its recipients': keys may have changed while it was recorded; --identity may be given several times"}
	}
	return nil
}

// IsLocked reports whether an encrypted file can't be read for want of the right key.
func IsLocked(err error) bool {
	return errors.Is(err, crypt.ErrNoIdentity) || errors.Is(err, crypt.ErrOtherKeys)
}
