package finish

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"capd/internal/frames"
	"capd/store"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// A compressor replaces files by compressed ones. It starts no goroutines, so
// it uses at most one processor.
type compressor struct {
	dir   string
	opt   Options            // its Directory is nil in a process that runs Main; dir is used
	stop  <-chan struct{}    // closed when the compression must be given up
	stage func(stage string) // called at each stage; for tests
}

// Stages of a compression, and the first of a table, for tests.
const (
	stageIdle     = "idle"    // the process has its priority
	stageWriting  = "writing" // after each chunk of input
	stageWritten  = "written" // after the sync
	stageVerified = "verified"
	stageRenamed  = "renamed"
)

// A digest is the SHA-256 and the size of a file's content.
type digest struct {
	sum  [sha256.Size]byte
	size int64
}

// A compressStep compresses a file, or completes a compression that was
// interrupted.
type compressStep struct {
	pack *compressor
	helper
}

func (*compressStep) name() string { return Compress }

func (s *compressStep) needs(f *store.File) bool {
	return f.Is(store.Finished) && !f.Name.Encrypted && (s.pack.opt.Compression.Ext() != "" || f.Is(store.Zstd) || f.Is(store.Gzip))
}

func (s *compressStep) do(name string) (Outcome, error) {
	run := s.pack.run
	if len(s.self) > 0 {
		run = s.delegate
	}
	out, err := run(name)
	if err == nil || errors.Is(err, errNothing) {
		return out, err
	}
	if _, gone := os.Lstat(filepath.Join(s.dir.Path(), name)); errors.Is(gone, fs.ErrNotExist) {
		return out, errNothing // retention has deleted the file
	}
	return out, fmt.Errorf("compress: %w", err)
}

// delegate makes another process compress the file.
func (s *compressStep) delegate(name string) (Outcome, error) {
	opt := &s.pack.opt
	var leftovers []string
	if ext := opt.Compression.Ext(); ext != "" {
		leftovers = append(leftovers, filepath.Join(s.dir.Path(), name)+ext+store.Packing.Ext())
	}
	return s.helper.do(request{Step: Compress, Name: name, Compression: opt.Compression, Level: opt.Level, Seekable: opt.Seekable, KeepFree: opt.KeepFree}, leftovers...)
}

// run replaces the file by a compressed one. At every moment the directory has
// the original, or a compressed file that was synced and verified.
func (c *compressor) run(name string) (Outcome, error) {
	path := filepath.Join(c.dir, name)
	out := Outcome{Path: path}
	src, info, err := openRegular(path)
	if err != nil {
		return out, err
	}
	defer src.Close()
	out.Size = info.Size()
	target, found := c.target(path)
	var d digest
	if found {
		d, err = c.compare(src, target)
	} else {
		d, err = c.create(src, info, target)
	}
	if err != nil {
		return out, err
	}
	if err := c.replace(path, info); err != nil {
		return out, err
	}
	out.Path, out.SHA256 = target, hex.EncodeToString(d.sum[:])
	if packed, err := os.Stat(target); err == nil {
		out.Packed = packed.Size()
	}
	return out, nil
}

// openRegular opens a regular file for reading; it follows no link.
func openRegular(path string) (*os.File, fs.FileInfo, error) {
	h, err := store.OpenRegular(path, os.O_RDONLY)
	if err != nil {
		return nil, nil, err
	}
	info, err := h.Stat()
	if err != nil {
		h.Close()
		return nil, nil, err
	}
	return h, info, nil
}

// target returns the path of the compressed file, and whether that file exists
// already: a run may have been interrupted before it removed the original. That
// run may have used another compression.
func (c *compressor) target(path string) (target string, found bool) {
	for _, kind := range compressions {
		if _, err := os.Lstat(path + kind.Ext()); err == nil {
			return path + kind.Ext(), true
		}
	}
	return path + c.opt.Compression.Ext(), false
}

// compare verifies a compressed file that exists beside its original.
func (c *compressor) compare(src *os.File, target string) (digest, error) {
	sum := sha256.New()
	n, err := io.Copy(sum, &dropReader{f: src, stop: c.stop})
	if err != nil {
		return digest{}, err
	}
	d := digestOf(sum, n)
	return d, c.verify(target, compressionOf(target), d)
}

// create writes the compressed file under a temporary name, verifies and
// renames it.
func (c *compressor) create(src *os.File, info fs.FileInfo, target string) (digest, error) {
	if err := c.room(info.Size()); err != nil {
		return digest{}, err
	}
	tmp := target + store.Packing.Ext()
	h, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, info.Mode().Perm())
	if err != nil {
		return digest{}, err
	}
	store.GiveToOwner(h)
	d, err := c.write(h, src, info)
	err = errors.Join(err, h.Close())
	if err == nil {
		c.stage(stageWritten)
		err = c.verify(tmp, c.opt.Compression, d)
	}
	if err == nil {
		c.stage(stageVerified)
		err = unchanged(src.Name(), info)
	}
	if err == nil {
		err = store.Rename(tmp, target)
	}
	if err != nil {
		_ = os.Remove(tmp)
		return digest{}, err
	}
	c.stage(stageRenamed)
	return d, store.SyncDirectory(c.dir)
}

// room checks that the compressed file fits beside its original, even if the
// data can't be compressed: both formats then add less than 1/128 and a header.
func (c *compressor) room(size int64) error {
	return room(c.dir, uint64(size)+uint64(size)/128+4096+c.opt.KeepFree, errNoSpace)
}

// room checks that so many bytes are free in a directory; if not, it returns an error that wraps small.
func room(dir string, need uint64, small error) error {
	space, err := store.FreeSpace(dir)
	if err != nil {
		return err
	}
	if space.Free < need {
		return fmt.Errorf("%s: %w: %d bytes free, %d needed", dir, small, space.Free, need)
	}
	return nil
}

var errNoSpace = errors.New("not enough space to compress")

// write writes the compressed file, gives it the times and mode of the
// original, and syncs it.
func (c *compressor) write(h, src *os.File, info fs.FileInfo) (digest, error) {
	behind := &behindWriter{f: h, keep: func() error { return c.room(0) }}
	buf := bufio.NewWriterSize(behind, 256<<10)
	enc, err := c.encoder(buf, info.Size())
	if err != nil {
		return digest{}, err
	}
	sum := sha256.New()
	in := &dropReader{f: src, stop: c.stop, stage: c.stage}
	n, err := io.CopyBuffer(onlyWriter{enc}, io.TeeReader(in, sum), make([]byte, copySize))
	if err != nil {
		return digest{}, err
	}
	if err := enc.Close(); err != nil {
		return digest{}, err
	}
	if err := buf.Flush(); err != nil {
		return digest{}, err
	}
	if err := h.Chmod(info.Mode().Perm()); err != nil { // the umask may have changed the mode
		return digest{}, err
	}
	if err := os.Chtimes(h.Name(), time.Time{}, info.ModTime()); err != nil {
		return digest{}, err
	}
	return digestOf(sum, n), h.Sync()
}

// copySize is how many bytes are compressed between two checks of the order to
// stop.
const copySize = 1 << 20

// onlyWriter hides an encoder's ReadFrom, which would not use the buffer.
type onlyWriter struct{ io.Writer }

func (c *compressor) encoder(w io.Writer, size int64) (io.WriteCloser, error) {
	switch {
	case c.opt.Compression == Gzip:
		return frames.NewGzip(w, c.opt.Level)
	case c.opt.Seekable:
		return frames.NewZstd(w, c.opt.Level)
	}
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(true),
		zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(c.opt.Level)), zstd.WithZeroFrames(true))
	if err != nil {
		return nil, err
	}
	enc.ResetContentSize(w, size)
	return enc, nil
}

// verify reads a compressed file back and compares its content. It reads from
// the disk, not from memory, where the system can do that.
func (c *compressor) verify(path string, kind Compression, want digest) error {
	h, _, err := openRegular(path)
	if err != nil {
		return err
	}
	defer h.Close()
	store.DropCache(h, 0, 0)
	dec, closeDecoder, err := decoder(kind, &dropReader{f: h, stop: c.stop})
	if err != nil {
		return fmt.Errorf("verify %s: %w", path, err)
	}
	defer closeDecoder()
	sum := sha256.New()
	n, err := io.CopyBuffer(onlyWriter{sum}, onlyReader{dec}, make([]byte, copySize))
	if errors.Is(err, errNothing) {
		return err
	}
	if err != nil {
		return fmt.Errorf("verify %s: %w", path, err)
	}
	if got := digestOf(sum, n); got != want {
		return fmt.Errorf("verify %s: %w", path, errDiffers)
	}
	return nil
}

var errDiffers = errors.New("the content differs from the original")

// onlyReader hides a decoder's WriteTo, which would not use the buffer.
type onlyReader struct{ io.Reader }

func decoder(kind Compression, r io.Reader) (dec io.Reader, closeIt func(), err error) {
	if kind == Gzip {
		dec, err := gzip.NewReader(bufio.NewReaderSize(r, 256<<10))
		return dec, func() {}, err
	}
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, nil, err
	}
	return z, z.Close, nil
}

func compressionOf(path string) Compression {
	for _, kind := range compressions {
		if kind.Ext() == filepath.Ext(path) {
			return kind
		}
	}
	return None
}

func digestOf(h hash.Hash, size int64) digest {
	d := digest{size: size}
	copy(d.sum[:], h.Sum(nil))
	return d
}

// unchanged checks that the path still leads to the file that was read,
// unchanged.
func unchanged(path string, info fs.FileInfo) error {
	now, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !os.SameFile(now, info) || now.Size() != info.Size() || !now.ModTime().Equal(info.ModTime()) {
		return fmt.Errorf("%s was changed during compression", path)
	}
	return nil
}

// replace removes the original, which the compressed file replaces.
func (c *compressor) replace(path string, info fs.FileInfo) error {
	if err := unchanged(path, info); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	return store.SyncDirectory(c.dir)
}

// behindStep is how many bytes are read or written before they are dropped from
// the page cache.
const behindStep = 8 << 20

// A dropReader reads a file and drops what it has read from the page cache.
type dropReader struct {
	f            *os.File
	stop         <-chan struct{}
	stage        func(string) // may be nil
	off, dropped int64
}

func (r *dropReader) Read(p []byte) (int, error) {
	select {
	case <-r.stop:
		return 0, errNothing
	default:
	}
	n, err := r.f.Read(p)
	if r.stage != nil && r.off > 0 {
		r.stage(stageWriting)
	}
	r.off += int64(n)
	if r.off-r.dropped >= behindStep || err != nil {
		store.DropCache(r.f, r.dropped, r.off-r.dropped)
		r.dropped = r.off
	}
	return n, err
}

// A behindWriter writes a file, sends it to the disk in steps, and drops it
// from the page cache.
type behindWriter struct {
	f            *os.File
	keep         func() error // asked at each step; its error stops the write
	off, written int64
}

func (w *behindWriter) Write(p []byte) (int, error) {
	n, err := w.f.Write(p)
	w.off += int64(n)
	if err != nil || w.off-w.written < behindStep {
		return n, err
	}
	if err := store.WriteThrough(w.f, w.written, w.off-w.written); err != nil {
		return n, err
	}
	w.written = w.off
	return n, w.keep()
}
