package read

import (
	"io"
	"os"

	"capd/crypt"
	"capd/internal/frames"
)

// plain returns the bytes of a capture file, which may be encrypted, compressed, or both.
func plain(name string, src io.Reader, keys crypt.Identities) (io.Reader, error) {
	magic := make([]byte, 4)
	n, err := io.ReadFull(src, magic)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return nil, err
	}
	src = &headed{magic[:n], src}
	if crypt.HasMagic(magic[:n]) {
		if src, err = crypt.NewStream(src, keys); err != nil {
			return nil, encryptedError(name, err)
		}
	}
	return uncompressed(src)
}

// uncompressed returns the bytes of a capture file, which may have been
// compressed by capd or another tool.
func uncompressed(src io.Reader) (io.Reader, error) {
	magic := make([]byte, 4)
	n, err := io.ReadFull(src, magic) // a file that is shorter is for the parser to refuse
	magic = magic[:n]
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return nil, err
	}
	if r, err := frames.NewReader(magic, src); r != nil || err != nil {
		return r, err
	}
	return &headed{magic, src}, nil // no buffer: the readers behind it have their own
}

// HasParts reports whether parts of a compressed file can be read, as of those that capd compresses.
func HasParts(path string) bool {
	h, err := os.Open(path)
	if err != nil {
		return false
	}
	defer h.Close()
	_, ok := frames.Open(h)
	return ok
}

// A throughAt reads parts of a file through what Options have for readers.
type throughAt struct {
	src  io.ReaderAt
	open Options
}

func (t throughAt) ReadAt(b []byte, at int64) (int, error) {
	n, err := io.ReadFull(through(io.NewSectionReader(t.src, at, int64(len(b))), t.open), b)
	if err == io.ErrUnexpectedEOF {
		err = io.EOF
	}
	return n, err
}

// A headed gives what was read of a source before the rest. Unlike an io.MultiReader it goes on where the source does so after its end.
type headed struct {
	head []byte
	src  io.Reader
}

func (h *headed) Read(b []byte) (n int, err error) {
	if len(h.head) == 0 {
		return h.src.Read(b)
	}
	n = copy(b, h.head)
	h.head = h.head[n:]
	return n, nil
}
