package ledger

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"capd/seal"
	"capd/store"

	"golang.org/x/sys/unix"
)

// Pauses between a write that failed and the next attempt: the pause doubles
// with each failure, from the first to the last.
const (
	firstPause = time.Second
	lastPause  = 30 * time.Second
)

// FileName is the name of a directory's present ledger. Old ledgers are called
// ledger-000001.jsonl and so on.
const FileName = "ledger.jsonl"

// What Options' zero values stand for.
const (
	DefaultRotateSize = 64 << 20
	DefaultPending    = 1 << 20
)

// Options say how to keep a ledger.
type Options struct {
	RotateSize int64       // a file of this many bytes is renamed, and a new one begun; 0: DefaultRotateSize
	Pending    int         // most bytes of lines that wait in memory while the disk fails; 0: DefaultPending
	Sync       bool        // Append waits until its lines are on the disk
	FileMode   fs.FileMode // 0: store.DefaultFileMode

	// Here returns an error while another directory, or none, is at the path. Lines
	// then go to the file that is open, and to no file in the other directory. May be
	// nil.
	Here func() error

	// Key seals the lines; nil: they are not sealed.
	Key *seal.Key

	// History is what Recall returned just before. With it, nothing that Recall
	// has read is read again. Without it, RemoveSpent looks after the ledgers
	// only that this Ledger rotates away.
	History *History
}

// A Ledger appends to the ledger of a directory. Whoever opens one holds the
// directory's lock. It is safe for use by several goroutines.
type Ledger struct {
	dir string
	opt Options

	mu       sync.Mutex // guards what follows
	file     file
	size     int64         // bytes of the file
	pending  []byte        // lines that are not, or not wholly, in the file
	sent     int           // bytes of pending that are in the file
	lost     uint64        // lines dropped because pending was full
	pause    time.Duration // between the last failure and the next attempt
	retry    *time.Timer   // of the next attempt; nil if the last one succeeded
	closed   bool
	rotation rotation
	seals    seals
	broken   string // see Broken

	open func(path string, mode fs.FileMode) (file, error)
}

// A file is what a Ledger needs of an *os.File.
type file interface {
	io.WriteCloser
	Stat() (fs.FileInfo, error)
	Sync() error
}

func openFile(path string, mode fs.FileMode) (file, error) {
	const flags = os.O_RDWR | os.O_APPEND | os.O_CREATE | unix.O_NOFOLLOW | unix.O_NONBLOCK
	h, err := os.OpenFile(path, flags, mode)
	if err != nil {
		return nil, err
	}
	if info, err := h.Stat(); err != nil || !info.Mode().IsRegular() {
		h.Close()
		return nil, cmp.Or(err, error(&fs.PathError{Op: "open", Path: path, Err: errors.New("not a regular file")}))
	}
	store.GiveToOwner(h)
	return h, nil
}

// Open opens the directory's ledger, or creates it. If a crash has torn the last
// line, Open cuts it off, or adds the newline if nothing else is missing, and
// appends a line of KindSalvaged.
func Open(dir string, opt Options) (*Ledger, error) {
	return open(dir, opt, openFile)
}

func open(dir string, opt Options, open func(string, fs.FileMode) (file, error)) (*Ledger, error) {
	if opt.RotateSize == 0 {
		opt.RotateSize = DefaultRotateSize
	}
	if opt.Pending == 0 {
		opt.Pending = DefaultPending
	}
	if opt.FileMode == 0 {
		opt.FileMode = store.DefaultFileMode
	}
	l := &Ledger{dir: dir, opt: opt, open: open, rotation: newRotation(opt.History)}
	l.opt.History = nil // it may be large
	key := l.opt.Key
	l.opt.Key = nil
	cut, unended, err := repair(l.path(), opt.FileMode)
	if err != nil {
		return nil, &store.UnfitError{Err: fmt.Errorf("open ledger: %w", err)}
	}
	if err := l.follow(); err != nil {
		return nil, &store.UnfitError{Err: err}
	}
	// If the disk fails now, the lines wait in memory.
	if unended {
		l.pending = []byte{'\n'}
	}
	if unended || cut > 0 {
		_ = l.Append(salvagedLedger(cut))
	}
	if key != nil {
		if err := l.Seal(key); err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	return l, nil
}

func (l *Ledger) path() string { return filepath.Join(l.dir, FileName) }

// repair cuts off a torn last line and returns how many bytes it cut. It leaves
// a line that lacks only its newline, and reports that as unended.
func repair(path string, mode fs.FileMode) (cut int64, unended bool, err error) {
	f, err := openFile(path, mode)
	if err != nil {
		return 0, false, err
	}
	h := f.(*os.File)
	defer h.Close()
	info, err := h.Stat()
	if err != nil {
		return 0, false, err
	}
	size := info.Size()
	end, err := lastLineEnd(h, size)
	if err != nil || end == size {
		return 0, false, err
	}
	if size-end < maxLine {
		line := make([]byte, size-end)
		if _, err := h.ReadAt(line, end); err != nil {
			return 0, false, err
		}
		if newDecoder().decode(line) == nil {
			return 0, true, nil
		}
	}
	if err := h.Truncate(end); err != nil {
		return 0, false, err
	}
	return size - end, false, h.Sync()
}

// lastLineEnd returns the offset behind the last newline, 0 without one.
func lastLineEnd(r io.ReaderAt, size int64) (int64, error) {
	buf := make([]byte, maxLine)
	for end := size; end > 0; {
		from := max(0, end-int64(len(buf)))
		b := buf[:end-from]
		if _, err := r.ReadAt(b, from); err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		if i := bytes.LastIndexByte(b, '\n'); i >= 0 {
			return from + int64(i) + 1, nil
		}
		end = from
	}
	return 0, nil
}

// Append appends lines, in order, with one write. Entries without a Time get the
// present one. After an error, the lines that were not written wait in memory;
// they are written as soon as the disk works again, before any later line.
func (l *Ledger) Append(entries ...Entry) error {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return fmt.Errorf("write ledger: %w", fs.ErrClosed)
	}
	for i := range entries {
		l.rotation.present.add(entries[i].Name)
		l.enqueue(entries[i].AppendLine(nil, now))
	}
	return l.drain()
}

// enqueue makes a line wait for the next write. When the memory is full, the line
// and all later ones are dropped until a write succeeds, so that the ledger lacks
// lines in one place only.
func (l *Ledger) enqueue(line []byte) {
	if l.lost > 0 || l.retry != nil && len(l.pending)+len(line) > l.opt.Pending {
		l.lost++
		return
	}
	l.pending = append(l.pending, line...)
	l.seals.add(line)
}

// drain writes the lines that wait. If that fails, a timer tries again.
func (l *Ledger) drain() error {
	err := l.write()
	if err == nil {
		l.stopRetry()
		return l.rotate()
	}
	if l.retry != nil {
		return err
	}
	l.pause = min(max(2*l.pause, firstPause), lastPause)
	l.retry = time.AfterFunc(l.pause, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.retry = nil; !l.closed {
			_ = l.drain() // sets the timer again if it fails
		}
	})
	return err
}

func (l *Ledger) stopRetry() {
	if l.retry != nil {
		l.retry.Stop()
	}
	l.retry, l.pause = nil, 0
}

// write writes the lines that wait to the file.
func (l *Ledger) write() error {
	if len(l.pending) == 0 && l.lost == 0 {
		return nil
	}
	if err := l.follow(); err != nil {
		return err
	}
	if err := l.writePending(); err != nil {
		return err
	}
	if l.lost > 0 {
		l.pending = unwritten(l.lost).AppendLine(nil, time.Now())
		l.seals.add(l.pending)
		l.lost = 0
		if err := l.writePending(); err != nil {
			return err
		}
	}
	if l.opt.Sync {
		if err := l.file.Sync(); err != nil {
			return fmt.Errorf("sync ledger: %w", err)
		}
	}
	return nil
}

// writePending makes one write. If only a part of a line is written, the next
// call writes the rest: no line is torn and none is written twice.
func (l *Ledger) writePending() error {
	n, err := l.file.Write(l.pending[l.sent:])
	l.size += int64(n)
	if err != nil {
		done := l.sent + n
		whole := bytes.LastIndexByte(l.pending[:done], '\n') + 1
		l.pending, l.sent = l.pending[whole:], done-whole
		return fmt.Errorf("write ledger: %w", err)
	}
	l.pending, l.sent = nil, 0
	return nil
}

// follow makes sure that the open file is the one that has the name: somebody
// may have removed it, or unmounted its file system.
func (l *Ledger) follow() error {
	if l.file != nil {
		open, err := l.file.Stat()
		named, err2 := os.Lstat(l.path())
		if err == nil && err2 == nil && os.SameFile(open, named) || l.elsewhere() != nil {
			return nil
		}
		_ = l.file.Close()
		l.file, l.sent = nil, 0
		l.seals.anchor = true // who reads the new file can't know what was in the old one
	}
	if err := l.elsewhere(); err != nil {
		return fmt.Errorf("open ledger: %w", err)
	}
	f, err := l.open(l.path(), l.opt.FileMode)
	if err != nil {
		return fmt.Errorf("open ledger: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return fmt.Errorf("open ledger: %w", err)
	}
	l.file, l.size = f, info.Size()
	return nil
}

// elsewhere returns an error while another directory is at the path.
func (l *Ledger) elsewhere() error {
	if l.opt.Here == nil {
		return nil
	}
	return l.opt.Here()
}

// Close writes the lines that wait and closes the file. After an error, lines
// are lost.
func (l *Ledger) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	_, err := l.checkpoint("")
	l.closed = true
	err = errors.Join(err, l.write())
	err = errors.Join(err, l.remember())
	l.stopRetry()
	if l.file != nil {
		err = errors.Join(err, l.file.Sync(), l.file.Close())
	}
	return err
}

// Pending returns how many bytes of lines wait in memory.
func (l *Ledger) Pending() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.pending) - l.sent
}
