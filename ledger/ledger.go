package ledger

import (
	"bytes"
	"capd/store"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Pause after a write that failed until the next try: it doubles from the first
// to the last.
const (
	firstPause = time.Second
	lastPause  = 30 * time.Second
)

// FileName is the name of a directory's ledger. Older parts of it are called
// ledger-000001.jsonl and so on.
const FileName = "ledger.jsonl"

// Defaults of a Options' zero values.
const (
	DefaultRotateSize = 64 << 20
	DefaultPending    = 1 << 20
)

// Options say how to keep a ledger. Zero values are defaults.
type Options struct {
	RotateSize int64       // bytes from which on the ledger goes on in a new file
	Pending    int         // most bytes of lines that wait for a disk that fails
	Sync       bool        // Append waits until its lines are on the disk
	FileMode   fs.FileMode // 0: DefaultFileMode
}

// A Ledger says what was recorded into a directory and what was lost. Only who
// holds the directory's lock may open it. It is safe for use by several
// goroutines.
type Ledger struct {
	dir string
	opt Options

	mu      sync.Mutex
	file    file
	size    int64
	pending []byte        // lines that are not, or not wholly, in the file
	sent    int           // bytes of pending that are
	lost    uint64        // lines since pending was full
	pause   time.Duration // before the next try after a failure
	retry   *time.Timer   // nil: nothing failed
	closed  bool

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
	return h, nil
}

// Open opens the directory's ledger, or makes it. A last line that a
// crash has torn is cut off, or gets its end if nothing else is missing; a
// line of KindSalvaged tells it.
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
	l := &Ledger{dir: dir, opt: opt, open: open}
	cut, unended, err := repair(l.path(), opt.FileMode)
	if err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	if err := l.follow(); err != nil {
		return nil, err
	}
	// A disk that takes nothing now will take it later.
	if unended {
		l.pending = []byte{'\n'}
	}
	if unended || cut > 0 {
		_ = l.Append(Entry{Kind: KindSalvaged, Name: FileName, Cut: cut, Why: "torn line"})
	}
	return l, nil
}

func (l *Ledger) path() string { return filepath.Join(l.dir, FileName) }

// repair cuts off a torn last line and returns how many bytes that were.
// It leaves one that lacks its end only.
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

// lastLineEnd returns the offset behind the last newline.
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

// Append adds lines, in order, with one write. Entries without a Time get the
// present one. After an error, what was not written waits in memory: it is
// written as soon as the disk takes it, before all that comes after.
func (l *Ledger) Append(entries ...Entry) error {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return fmt.Errorf("write ledger: %w", fs.ErrClosed)
	}
	for i := range entries {
		l.keep(entries[i].AppendLine(nil, now))
	}
	return l.drain()
}

// keep puts a line behind those that wait. When there is no room for it, the
// later ones are lost too, so that the loss is in one place.
func (l *Ledger) keep(line []byte) {
	if l.lost > 0 || l.retry != nil && len(l.pending)+len(line) > l.opt.Pending {
		l.lost++
		return
	}
	l.pending = append(l.pending, line...)
}

// drain writes all that waits. If it can't, a timer tries again.
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
			_ = l.drain() // it arms the timer again
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

// write hands what waits to the system.
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
		l.pending = Entry{Kind: KindUnwritten, Lines: l.lost}.AppendLine(nil, time.Now())
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

// writePending makes one write. Of a line that does not fit, the rest is
// written the next time: nothing is cut and nothing is written twice.
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

// follow makes sure that the open file is the one with the name: it may have
// been removed, or the file system under it unmounted.
func (l *Ledger) follow() error {
	if l.file != nil {
		open, err := l.file.Stat()
		named, err2 := os.Lstat(l.path())
		if err == nil && err2 == nil && os.SameFile(open, named) {
			return nil
		}
		_ = l.file.Close()
		l.file, l.sent = nil, 0
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

// rotate goes on in a new file when this one is large.
func (l *Ledger) rotate() error {
	if l.size < l.opt.RotateSize {
		return nil
	}
	old, err := oldNames(l.dir)
	if err != nil {
		return fmt.Errorf("rotate ledger: %w", err)
	}
	last := uint64(0)
	if len(old) > 0 {
		last, _ = parseOldName(old[len(old)-1])
	}
	if err := l.file.Sync(); err != nil {
		return fmt.Errorf("rotate ledger: %w", err)
	}
	if err := store.Rename(l.path(), filepath.Join(l.dir, oldName(last+1))); err != nil {
		return fmt.Errorf("rotate ledger: %w", err)
	}
	if err := l.follow(); err != nil {
		return err
	}
	if err := store.SyncDirectory(l.dir); err != nil {
		return fmt.Errorf("rotate ledger: %w", err)
	}
	return nil
}

// Close writes what waits, if it can, and closes the file. The error says what
// is lost.
func (l *Ledger) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	err := l.write()
	l.stopRetry()
	if l.file != nil {
		err = errors.Join(err, l.file.Sync(), l.file.Close())
	}
	return err
}

// Pending returns how many bytes of lines wait for the disk.
func (l *Ledger) Pending() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.pending) - l.sent
}

func oldName(n uint64) string { return fmt.Sprintf("ledger-%06d.jsonl", n) }

// parseOldName returns the number of an old ledger.
func parseOldName(s string) (uint64, bool) {
	digits, ok := strings.CutPrefix(s, "ledger-")
	digits, ok2 := strings.CutSuffix(digits, ".jsonl")
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, ok && ok2 && err == nil && oldName(n) == s
}

// oldNames returns the names of the directory's old ledgers, oldest first.
func oldNames(dir string) ([]string, error) {
	h, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	all, err := h.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(s string) bool { _, ok := parseOldName(s); return !ok })
	slices.SortFunc(all, func(a, b string) int {
		x, _ := parseOldName(a)
		y, _ := parseOldName(b)
		return cmp.Compare(x, y)
	})
	return all, nil
}

// A Span says which files an old ledger speaks of.
type Span struct {
	Ledger string                // its name
	Last   map[store.Lane]uint64 // highest sequence numbers
}

// Spent returns the names of the old ledgers that are no longer needed, given
// their spans, oldest first, and the lowest sequence number of each lane of which
// the directory has a file: none of the files that they speak of is left. A
// needed one keeps all that come after it, so that what is left has no hole.
func Spent(spans []Span, first map[store.Lane]uint64) []string {
	var spent []string
	for _, span := range spans {
		for lane, last := range span.Last {
			if least, ok := first[lane]; ok && least <= last {
				return spent
			}
		}
		spent = append(spent, span.Ledger)
	}
	return spent
}
