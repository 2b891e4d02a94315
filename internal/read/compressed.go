package read

import (
	"bufio"
	"bytes"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// maxWindow is how far back a zstd file may refer, and so its memory: as much as
// the zstd tool allows by itself.
const maxWindow = 128 << 20

// isZstd says whether a file of these first bytes is one of zstd: it begins with
// a frame (RFC 8878, 3.1.1), or with one to be skipped (3.1.2), as pzstd's do.
func isZstd(magic []byte) bool {
	return bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}) ||
		len(magic) == 4 && magic[0]&0xf0 == 0x50 && bytes.Equal(magic[1:], []byte{0x2a, 0x4d, 0x18})
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
	b := io.MultiReader(bytes.NewReader(magic), src) // no buffer: the readers behind it have their own
	switch {
	case isZstd(magic):
		d, err := zstd.NewReader(b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}): // RFC 1952, 2.3.1
		return gzip.NewReader(bufio.NewReaderSize(b, 64<<10))
	}
	return b, nil
}
