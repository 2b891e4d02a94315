// Package frames writes compressed files that can be read in parts: each megabyte of the content is a frame by itself.
//
// A zstd file is plain frames in a row (RFC 8878), each with the size of its content and a checksum. No table of them is in the file,
// as Wireshark does not read a file with skippable frames; the headers of a frame's blocks lead to the next frame. A gzip file is
// members in a row (RFC 1952), each with its own size in an extra field. All tools take both for usual files.
//
// A frame's content is given only after its checksum was found right, so a damaged file gives no wrong byte.
package frames

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Size is how many bytes of content a frame has; the last one may have fewer.
const Size = 1 << 20

// maxSize is how many a frame of another program may have: memory holds both what is compressed and what is not.
const maxSize = 8 << 20

// The extra field of a gzip member (RFC 1952, 2.3.1.1): its number, its length, then 4 bytes size of the member and 4 of its
// content, little endian.
const (
	extraID1, extraID2 = 'C', 'D'
	extraSize          = 8
	gzipHead           = 10 + 2 + 4 + extraSize
)

// A Writer makes frames of what is written to it. It starts no goroutines.
type Writer struct {
	w       io.Writer
	pack    func(to, content []byte) ([]byte, error)
	content []byte
	packed  []byte
	empty   bool // no frame was made
}

// NewZstd returns a Writer of zstd frames, of a level of the zstd tool.
func NewZstd(w io.Writer, level int) (*Writer, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(true), zstd.WithSingleSegment(true),
		zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(level)), zstd.WithZeroFrames(true))
	if err != nil {
		return nil, err
	}
	return newWriter(w, func(to, content []byte) ([]byte, error) { return enc.EncodeAll(content, to), nil }), nil
}

// NewGzip returns a Writer of gzip members, of a level of gzip.
func NewGzip(w io.Writer, level int) (*Writer, error) {
	enc, err := gzip.NewWriterLevel(nil, level)
	if err != nil {
		return nil, err
	}
	return newWriter(w, func(to, content []byte) ([]byte, error) {
		b := bytes.NewBuffer(to)
		enc.Reset(b)
		enc.Extra = []byte{extraID1, extraID2, extraSize, 0, 0, 0, 0, 0, 0, 0, 0, 0}
		if _, err := enc.Write(content); err != nil {
			return nil, err
		}
		if err := enc.Close(); err != nil {
			return nil, err
		}
		to = b.Bytes()
		binary.LittleEndian.PutUint32(to[gzipHead-8:], uint32(len(to)))
		binary.LittleEndian.PutUint32(to[gzipHead-4:], uint32(len(content)))
		return to, nil
	}), nil
}

func newWriter(w io.Writer, pack func(to, content []byte) ([]byte, error)) *Writer {
	return &Writer{w: w, pack: pack, content: make([]byte, 0, Size), empty: true}
}

// Write takes content, and writes the frames that are full.
func (w *Writer) Write(b []byte) (n int, err error) {
	for len(b) > 0 {
		taken := min(len(b), Size-len(w.content))
		w.content = append(w.content, b[:taken]...)
		n, b = n+taken, b[taken:]
		if len(w.content) == Size {
			if err := w.frame(); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

// Close writes the last frame. An empty file has an empty one.
func (w *Writer) Close() error {
	if len(w.content) == 0 && !w.empty {
		return nil
	}
	return w.frame()
}

func (w *Writer) frame() (err error) {
	if w.packed, err = w.pack(w.packed[:0], w.content); err != nil {
		return err
	}
	w.content, w.empty = w.content[:0], false
	_, err = w.w.Write(w.packed)
	return err
}

// errNoFrames says of a frame that it can't be read by itself; the file may be a usual one.
var errNoFrames = errors.New("the file is not compressed in frames of known size")

// A walker goes over the bytes of one frame.
type walker interface {
	// next returns the next bytes; io.EOF if there are none, io.ErrUnexpectedEOF if there are fewer.
	next(n int) ([]byte, error)
	// skip goes over bytes without looking at them. It need not see where the file ends.
	skip(n int64) error
}

// walk goes over a frame, and returns how many bytes of content it says to have. At the end of the file it returns io.EOF.
func walk(w walker) (content int64, err error) {
	magic, err := w.next(4)
	switch {
	case err == io.ErrUnexpectedEOF:
		return 0, errNoFrames
	case err != nil:
		return 0, err
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		content, err = walkZstd(w)
	case magic[0] == 0x1f && magic[1] == 0x8b && magic[2] == 8 && magic[3] == 4: // deflate, and an extra field alone
		content, err = walkGzip(w)
	default:
		return 0, errNoFrames
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return content, err
}

// walkZstd goes over a frame behind its magic number (RFC 8878, 3.1.1).
func walkZstd(w walker) (content int64, err error) {
	b, err := w.next(1)
	if err != nil {
		return 0, err
	}
	const single, reserved, checksum, dictionary = 1 << 5, 1 << 3, 1 << 2, 3
	d := b[0]
	if d&checksum == 0 || d&(dictionary|reserved) != 0 {
		return 0, errNoFrames
	}
	sizes := 0 // bytes that have the size of the content
	switch {
	case d>>6 > 0:
		sizes = 1 << (d >> 6)
	case d&single != 0:
		sizes = 1
	default:
		return 0, errNoFrames
	}
	if d&single == 0 { // the size of the window follows
		if _, err := w.next(1); err != nil {
			return 0, err
		}
	}
	if b, err = w.next(sizes); err != nil {
		return 0, err
	}
	var size [8]byte
	copy(size[:], b)
	n := binary.LittleEndian.Uint64(size[:])
	if sizes == 2 {
		n += 256
	}
	if n > maxSize {
		return 0, errNoFrames
	}
	for last := false; !last; {
		if b, err = w.next(3); err != nil {
			return 0, err
		}
		block := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16
		last = block&1 != 0
		bytes := int64(block >> 3)
		if block>>1&3 == 1 { // one byte, repeated
			bytes = 1
		}
		if err := w.skip(bytes); err != nil {
			return 0, err
		}
	}
	return int64(n), w.skip(4)
}

// walkGzip goes over a member behind its first 4 bytes.
func walkGzip(w walker) (content int64, err error) {
	b, err := w.next(gzipHead - 4)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return 0, errNoFrames
	}
	if err != nil {
		return 0, err
	}
	le := binary.LittleEndian
	if b = b[6:]; le.Uint16(b) != 4+extraSize || b[2] != extraID1 || b[3] != extraID2 || le.Uint16(b[4:]) != extraSize {
		return 0, errNoFrames
	}
	size, length := int64(le.Uint32(b[6:])), int64(le.Uint32(b[10:]))
	if size < gzipHead || length > maxSize || size > 2*maxSize {
		return 0, errNoFrames
	}
	return length, w.skip(size - gzipHead)
}
