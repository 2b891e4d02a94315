package frames

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// maxWindow is how far back a zstd file of another program may refer, and so its memory: as much as the zstd tool allows by itself.
const maxWindow = 128 << 20

// An unpacker gives the content of frames.
type unpacker struct{ zstd *zstd.Decoder }

var errLength = errors.New("a frame of the compressed file has not the length that its header says")

// content returns the content of a frame, of so many bytes, once it is known to be right.
func (u *unpacker) content(to, frame []byte, length int64) ([]byte, error) {
	if frame[0] == 0x1f {
		src, err := gzip.NewReader(bytes.NewReader(frame))
		if err != nil {
			return nil, err
		}
		b := slices.Grow(to[:0], int(length)+1)[:length+1]
		n, err := io.ReadFull(src, b)
		if err == nil || int64(n) != length {
			err = errLength
		}
		if err == io.ErrUnexpectedEOF && int64(n) == length || err == io.EOF && length == 0 {
			_, err = src.Read(b[n:]) // the reader's own error, if the checksum was wrong
			if err == io.EOF {
				err = nil
			}
		}
		return b[:length], err
	}
	if u.zstd == nil {
		var err error
		if u.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(maxSize)); err != nil {
			return nil, err
		}
	}
	b, err := u.zstd.DecodeAll(frame, to[:0])
	if err == nil && int64(len(b)) != length {
		err = errLength
	}
	return b, err
}

// NewReader returns the content of a compressed file, of which magic are the first 4 bytes. What this package has written is checked
// frame by frame before any byte is given; other files are read as they come. It returns nil if the file is not compressed.
func NewReader(magic []byte, src io.Reader) (io.Reader, error) {
	all := io.MultiReader(bytes.NewReader(magic), src) // no buffer: the readers behind it have their own
	switch {
	case isZstd(magic):
		return &stream{src: bufio.NewReaderSize(all, 64<<10), usual: func(r io.Reader) (io.Reader, error) {
			d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
			if err != nil {
				return nil, err
			}
			return d.IOReadCloser(), nil
		}}, nil
	case Compressed(magic):
		return &stream{src: bufio.NewReaderSize(all, 64<<10), usual: func(r io.Reader) (io.Reader, error) {
			z, err := gzip.NewReader(bufio.NewReaderSize(r, 64<<10))
			if err != nil {
				return nil, err
			}
			return z, nil
		}}, nil
	}
	return nil, nil
}

// Compressed reports whether these are the first 4 bytes of a compressed file.
func Compressed(magic []byte) bool {
	return isZstd(magic) || bytes.HasPrefix(magic, []byte{0x1f, 0x8b}) // RFC 1952, 2.3.1
}

// isZstd says whether a file of these first bytes is one of zstd: it begins with a frame (RFC 8878, 3.1.1), or with one to be skipped
// (3.1.2), as pzstd's do.
func isZstd(magic []byte) bool {
	return bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}) ||
		len(magic) == 4 && magic[0]&0xf0 == 0x50 && bytes.Equal(magic[1:], []byte{0x2a, 0x4d, 0x18})
}

// A stream reads frame after frame. From one on that is none of this package, it reads as usual readers do.
type stream struct {
	src     *bufio.Reader
	usual   func(io.Reader) (io.Reader, error)
	rest    io.Reader // from then on
	frame   []byte    // that is read
	unpack  unpacker
	content []byte // of it
	left    []byte // of content
	err     error
}

func (s *stream) Read(b []byte) (n int, err error) {
	for len(s.left) == 0 && s.rest == nil && s.err == nil {
		s.err = s.advance()
	}
	switch {
	case len(s.left) > 0:
		n = copy(b, s.left)
		s.left = s.left[n:]
		return n, nil
	case s.rest != nil:
		return s.rest.Read(b)
	}
	return 0, s.err
}

func (s *stream) advance() error {
	s.frame = s.frame[:0]
	length, err := walk(s)
	if err == errNoFrames {
		s.rest, err = s.usual(io.MultiReader(bytes.NewReader(s.frame), s.src))
		return err
	}
	if err != nil {
		return err
	}
	s.content, err = s.unpack.content(s.content, s.frame, length)
	if err == nil {
		s.left = s.content
	}
	return err
}

// next takes bytes into the frame.
func (s *stream) next(n int) ([]byte, error) {
	at := len(s.frame)
	if at+n > 2*maxSize {
		return nil, errNoFrames
	}
	s.frame = slices.Grow(s.frame, n)[:at+n]
	got, err := io.ReadFull(s.src, s.frame[at:])
	s.frame = s.frame[:at+got]
	return s.frame[at:], err
}

func (s *stream) skip(n int64) error {
	if n > 2*maxSize {
		return errNoFrames
	}
	_, err := s.next(int(n))
	if err == io.EOF && n > 0 {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// A File gives any part of a compressed file's content.
type File struct {
	src    io.ReaderAt
	unpack unpacker
	places []place // of the frames that are known, in order
	at     int64   // of the file's next byte for walk
	ahead  []byte  // that were read from there on
	packed []byte
	now    int // whose content is here
	bytes  []byte
}

// A place is where a frame is in the file, and its content in that of the file.
type place struct{ at, size, begin, length int64 }

// Open returns a compressed file, if it is one that this package has written, or written alike.
func Open(src io.ReaderAt) (*File, bool) {
	f := &File{src: src, now: -1}
	return f, f.know() == nil
}

// know finds one more frame; io.EOF is behind the last one.
func (f *File) know() error {
	p := place{at: f.at}
	if n := len(f.places); n > 0 {
		p.begin = f.places[n-1].begin + f.places[n-1].length
	}
	length, err := walk(f)
	if p.size, p.length = f.at-p.at, length; err == nil && p.size > 2*maxSize {
		err = errNoFrames
	}
	if err != nil {
		f.at, f.ahead = p.at, nil // so that it is the same error the next time
		return err
	}
	f.places = append(f.places, p)
	return nil
}

// nextStep is how many bytes are read at once of what walk looks at: the head of a frame.
const nextStep = 32

func (f *File) next(n int) ([]byte, error) {
	if len(f.ahead) < n {
		f.ahead = slices.Grow(f.ahead[:0], nextStep)[:nextStep]
		got, err := f.src.ReadAt(f.ahead, f.at)
		if f.ahead = f.ahead[:got]; got < n {
			if err == io.EOF && got > 0 {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	b := f.ahead[:n]
	f.ahead = f.ahead[n:]
	f.at += int64(n)
	return b, nil
}

func (f *File) skip(n int64) error {
	f.at += n
	f.ahead = f.ahead[min(n, int64(len(f.ahead))):]
	return nil
}

// ReadAt reads content.
func (f *File) ReadAt(b []byte, at int64) (n int, err error) {
	for len(b) > 0 {
		if err := f.load(at); err != nil {
			return n, err
		}
		took := copy(b, f.bytes[at-f.places[f.now].begin:])
		n, at, b = n+took, at+int64(took), b[took:]
	}
	return n, nil
}

// load gets the content of the frame that has a byte of the file's content.
func (f *File) load(at int64) error {
	for len(f.places) == 0 || f.places[len(f.places)-1].begin+f.places[len(f.places)-1].length <= at {
		if err := f.know(); err != nil {
			return err
		}
	}
	i := sort.Search(len(f.places), func(i int) bool { return f.places[i].begin+f.places[i].length > at })
	if i == f.now {
		return nil
	}
	f.now = -1
	p := &f.places[i]
	f.packed = slices.Grow(f.packed[:0], int(p.size))[:p.size]
	n, err := f.src.ReadAt(f.packed, p.at)
	switch {
	case int64(n) == p.size:
	case err == io.EOF:
		return io.ErrUnexpectedEOF
	default:
		return err
	}
	if f.bytes, err = f.unpack.content(f.bytes, f.packed, p.length); err != nil {
		return fmt.Errorf("at byte %d of the compressed file: %w", p.at, err)
	}
	f.now = i
	return nil
}
