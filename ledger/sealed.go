package ledger

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"path/filepath"
	"slices"
	"time"

	"capd/seal"
)

// seals are what a Ledger knows of its log; see docs/seal.md.
type seals struct {
	key    *seal.Key // nil: nothing is sealed
	log    *seal.Log
	anchor bool      // the next checkpoint has to have the frontier
	sealed seal.Mark // of the last checkpoint
	marked seal.Mark // what the key's folder knows
	last   string    // the epoch's last checkpoint, where the next epoch has not begun yet; else empty
}

// add adds a line that will be in the file, with its newline.
func (s *seals) add(line []byte) {
	if s.key != nil {
		s.log.Append(bytes.TrimSuffix(line, []byte{'\n'}))
	}
}

// A Line is a line of a ledger as it is in the file.
type Line struct {
	File   string // name of the ledger in its directory
	Number int    // from 1 on
	Bytes  []byte // without the newline; valid until the next line
	Torn   bool   // it has no newline
	Entry  Entry
	Err    error // it is no line of a ledger
}

// Lines returns all lines of the directory's ledgers, oldest first, those that
// are damaged too. After an error nothing follows.
func Lines(dir string, opt ReadOptions) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		files, err := openAll(dir, opt.Names)
		defer func() {
			for _, h := range files {
				h.Close()
			}
		}()
		if err != nil {
			yield(Line{}, fmt.Errorf("read ledger: %w", err))
			return
		}
		if opt.Begin != nil {
			opt.Begin(sizeOf(files))
		}
		for _, h := range files {
			if opt.ledger != nil {
				opt.ledger(filepath.Base(h.Name()))
			}
			var src io.Reader = h
			if opt.Read != nil {
				src = countingReader{h, opt.Read}
			}
			if !linesOf(src, filepath.Base(h.Name()), yield) {
				return
			}
		}
	}
}

// linesOf yields the lines of one ledger and reports whether to go on.
func linesOf(src io.Reader, name string, yield func(Line, error) bool) bool {
	r := bufio.NewReaderSize(src, maxLine)
	d := newDecoder()
	for n := 1; ; n++ {
		b, err := r.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			b = slices.Clone(b)
			var rest []byte
			rest, err = r.ReadBytes('\n')
			b = append(b, rest...)
		}
		if err != nil && err != io.EOF {
			yield(Line{}, fmt.Errorf("read ledger: %w", err))
			return false
		}
		if len(b) == 0 {
			return true
		}
		line := Line{File: name, Number: n, Torn: err == io.EOF, Bytes: bytes.TrimSuffix(b, []byte{'\n'})}
		if line.Err = d.decode(line.Bytes); line.Err == nil {
			line.Entry = d.entry
		}
		if !yield(line, nil) {
			return false
		}
		if line.Torn {
			return true
		}
	}
}

// A resumption is the log of a directory as its ledgers have it.
type resumption struct {
	log     *seal.Log // nil: there is none
	evolved string    // the last checkpoint that names a next key; empty: none
	why     string    // why the log can't go on; empty: it can

	want  *seal.Mark // what was sealed; nil: unknown
	other bool       // at the mark's size the log has another root
}

// resume reads the log from the newest ledger that has a frontier: what is older
// is in it.
func resume(dir string, want *seal.Mark) (*resumption, error) {
	names, err := listNames(dir)
	if err != nil {
		return nil, err
	}
	all := append(oldNames(names), FileName)
	for i := len(all) - 1; i >= 0; i-- {
		r := &resumption{want: want}
		// Lines lists the old ledgers of these names, and always the present one.
		for line, err := range Lines(dir, ReadOptions{Names: append([]string{}, all[i:]...)}) {
			if err != nil {
				return nil, err
			}
			r.add(&line)
		}
		if r.log != nil {
			r.compare()
			return r, nil
		}
	}
	r := &resumption{want: want}
	r.compare()
	return r, nil
}

// compare finds out whether the log is behind what is known to be sealed.
func (r *resumption) compare() {
	switch w := r.want; {
	case w == nil || r.why != "":
	case r.log == nil || r.log.ID != w.Log:
		r.why = fmt.Sprintf("the log %s, of which %d lines were sealed at %s, is not here", w.Log, w.Size, w.Time.Format(time.RFC3339))
	case r.log.Len() <= w.Size:
		r.why = fmt.Sprintf("the log was cut: lines %d to %d, which were sealed at %s, are gone", r.log.Len(), w.Size, w.Time.Format(time.RFC3339))
	case r.other:
		r.why = fmt.Sprintf("the first %d lines are not those that were sealed at %s", w.Size, w.Time.Format(time.RFC3339))
	}
}

func (r *resumption) add(line *Line) {
	e := &line.Entry
	defer func() {
		if r.log != nil {
			r.log.Append(line.Bytes)
		}
	}()
	if line.Err != nil || e.Kind != KindSeal {
		return
	}
	signed, err := e.Checkpoint()
	if err != nil {
		return
	}
	c, err := seal.Peek(signed)
	if err != nil {
		return
	}
	if c.Next != "" {
		r.evolved = signed
	}
	if r.want != nil && c.Log == r.want.Log && c.Size == r.want.Size && c.Root.String() != r.want.Root {
		r.other = true
	}
	switch {
	case r.log == nil || r.log.ID != c.Log:
		if e.Frontier == "" && c.Size > 0 {
			return
		}
		if log, err := seal.Resume(c, e.Frontier); err == nil {
			r.log, r.why = log, ""
		}
	case c.Root != r.log.Checkpoint().Root || c.Size != r.log.Len():
		r.why = fmt.Sprintf("%s:%d: the lines before are not those that were sealed", line.File, line.Number)
	}
	if r.log != nil {
		r.log.Sealed()
	}
}

// Seal begins to seal the lines with the key, and seals what is there; a nil key
// ends it.
func (l *Ledger) Seal(key *seal.Key) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seals.key != nil {
		_, err := l.checkpoint("")
		err = errors.Join(err, l.remember())
		l.seals = seals{}
		if err != nil || key == nil {
			return err
		}
	}
	if key == nil {
		return nil
	}
	if err := l.drain(); err != nil {
		return fmt.Errorf("seal ledger: %w", err)
	}
	mark, err := key.Remembered()
	if err != nil {
		return fmt.Errorf("seal ledger: %w", err)
	}
	r, err := resume(l.dir, mark)
	if err != nil {
		return fmt.Errorf("seal ledger: %w", err)
	}
	if err := key.Recover(r.evolved, l.dir, l.opt.FileMode); err != nil {
		return fmt.Errorf("seal ledger: complete a change of the key: %w", err)
	}
	if err := key.CopyChain(l.dir, l.opt.FileMode); err != nil {
		return fmt.Errorf("seal ledger: %w", err)
	}
	l.seals = seals{key: key, log: r.log}
	if r.log == nil || r.why != "" {
		l.seals = seals{key: key, log: seal.NewLog(), anchor: true}
	}
	if _, err = l.checkpoint(r.why); err != nil {
		return err
	}
	l.broken = r.why
	return l.remember()
}

// Broken says why the log of the directory began anew when sealing began; empty
// if it went on, or is the first.
func (l *Ledger) Broken() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.broken
}

// Remember keeps, beside the key, what is sealed and on the disk: the next start
// finds out if the end was cut off.
func (l *Ledger) Remember() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.remember()
}

// remember is Remember with the lock held. What waits in memory is not on the disk.
func (l *Ledger) remember() error {
	s := &l.seals
	if s.key == nil || s.sealed == s.marked || len(l.pending) > 0 || l.lost > 0 || l.file == nil {
		return nil
	}
	if err := l.file.Sync(); err != nil {
		return fmt.Errorf("seal ledger: %w", err)
	}
	if err := s.key.Remember(s.sealed); err != nil {
		return fmt.Errorf("seal ledger: %w", err)
	}
	s.marked = s.sealed
	return nil
}

// A Seal is what is known of the last checkpoint.
type Seal struct {
	Lines int64  // of the log
	Epoch uint64 // number of the key
}

// Checkpoint seals the lines that came since the last checkpoint; without any it
// does nothing. Done says that there was something to seal.
func (l *Ledger) Checkpoint() (done bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.checkpoint("")
}

// checkpoint is Checkpoint with the lock held. A line of the last checkpoint
// alone needs none.
func (l *Ledger) checkpoint(why string) (done bool, err error) {
	s := &l.seals
	if l.closed || s.key == nil || s.log.Unsealed() <= 1 && !s.anchor {
		return false, nil
	}
	if s.last != "" || l.retry != nil {
		return false, nil // the key has signed its last, or the disk fails
	}
	if _, err := l.sign("", why); err != nil {
		return false, err
	}
	return true, l.drain()
}

// sign queues a checkpoint of all lines up to here, and returns it.
func (l *Ledger) sign(next, why string) (signed string, err error) {
	s := &l.seals
	c := s.log.Checkpoint()
	c.Next = next
	signed, err = s.key.Sign(c)
	if err != nil {
		return "", fmt.Errorf("seal ledger: %w", err)
	}
	frontier := ""
	if s.anchor {
		frontier = s.log.Frontier()
	}
	s.log.Sealed()
	s.anchor = false
	s.sealed = seal.Mark{Log: c.Log, Size: c.Size, Root: c.Root.String()}
	l.enqueue(sealed(signed, frontier, why).AppendLine(nil, time.Now()))
	return signed, nil
}

// anchor makes the first line of a new ledger a checkpoint from which a reader
// can begin. No line waits for the disk.
func (l *Ledger) anchor() error {
	if l.seals.key == nil {
		return nil
	}
	l.seals.anchor = true
	if l.seals.last != "" {
		return nil // the next key will sign it
	}
	if _, err := l.sign("", ""); err != nil {
		return err
	}
	return l.write()
}

// Evolve seals the lines with the next key in the checkpoint, and wipes the
// present one. If the disk fails, another call goes on with it; until then
// nothing is sealed.
func (l *Ledger) Evolve() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &l.seals
	if l.closed || s.key == nil || l.retry != nil {
		return nil
	}
	if s.last == "" {
		next, err := s.key.Prepare()
		if err != nil {
			return fmt.Errorf("seal ledger: next key: %w", err)
		}
		if s.last, err = l.sign(next, ""); err != nil {
			return err
		}
	}
	if err := l.drain(); err != nil {
		return err
	}
	if err := l.file.Sync(); err != nil {
		return fmt.Errorf("seal ledger: %w", err)
	}
	if err := s.key.Evolve(s.last, l.dir, l.opt.FileMode); err != nil {
		return fmt.Errorf("seal ledger: next key: %w", err)
	}
	s.last = ""
	_, err := l.checkpoint("")
	return err
}

// announce says that an old ledger will be deleted, where lines are sealed.
func (l *Ledger) announce(name string) error {
	l.mu.Lock()
	sealing := l.seals.key != nil
	l.mu.Unlock()
	if !sealing {
		return nil
	}
	if err := l.Append(deletingLedger(name)); err != nil {
		return fmt.Errorf("remove old ledger: %w", err)
	}
	return nil
}

// Sealed returns what is sealed, and false where nothing is.
func (l *Ledger) Sealed() (Seal, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seals.key == nil {
		return Seal{}, false
	}
	epoch, _ := l.seals.key.Epoch()
	return Seal{Lines: l.seals.log.Len() - l.seals.log.Unsealed(), Epoch: epoch}, true
}
