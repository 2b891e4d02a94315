package alert

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

const (
	// look is the time between two looks whether a file has grown.
	look = 100 * time.Millisecond
	// linger is how long a file is read on after it has lost its name: its writer may not know that yet.
	linger = 10 * time.Second
)

// Tail calls each for the lines that are appended to a file, as Read does, until the context ends or each returns an error. If
// another file gets the name, the old one is read to its end, and the new one from its begin; one that is cut is read from its
// begin too. Without all, what the file has now is passed over, but header lines.
func Tail(ctx context.Context, path string, all bool, each func(*Alert, error) error) error {
	tick := time.NewTicker(look)
	defer tick.Stop()
	var files []*tailed // the newest is the last
	defer func() {
		for _, t := range files {
			t.file.Close()
		}
	}()
	for {
		if t, err := reopen(path, files); err != nil {
			return err
		} else if t != nil {
			if !all && len(files) == 0 {
				if err := t.pass(); err != nil {
					return err
				}
			}
			files = append(files, t)
		}
		all = true
		kept := files[:0]
		for i, t := range files {
			ended, err := t.read(i == len(files)-1, each)
			if err != nil {
				return err
			}
			if ended {
				t.file.Close()
			} else {
				kept = append(kept, t)
			}
		}
		files = kept
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// reopen opens the file that has the name, unless it is open; nil if there is none.
func reopen(path string, files []*tailed) (*tailed, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is no file that grows: - reads standard input, as of a pipe, and unix:PATH makes a socket", path)
	}
	for _, t := range files {
		if os.SameFile(t.info, info) {
			return nil, nil
		}
	}
	h, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	t := &tailed{path: path, file: h}
	if t.info, err = h.Stat(); err != nil {
		h.Close()
		return nil, err
	}
	t.begin()
	return t, nil
}

// A tailed file is one that grows, or that did.
type tailed struct {
	path   string
	file   *os.File
	info   fs.FileInfo // which file it is
	lines  *lines
	parser *Parser
	grown  time.Time // when something was read last
}

// begin reads the file from its begin on.
func (t *tailed) begin() {
	t.lines, t.parser, t.grown = newLines(t.file), NewParser(t.path), time.Now()
}

// pass passes over what the file has, but header lines.
func (t *tailed) pass() error {
	for {
		line, err := t.lines.more()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case len(line) > 0 && line[0] == '#':
			_, _ = t.parser.Parse(line)
		default:
			t.parser.line++
		}
		t.lines.line = t.lines.line[:0]
	}
}

// read reads what there is of the file. It has ended if it is not the newest, and nothing was appended for a while.
func (t *tailed) read(newest bool, each func(*Alert, error) error) (ended bool, err error) {
	info, err := t.file.Stat()
	if err != nil {
		return false, err
	}
	if at, err := t.file.Seek(0, io.SeekCurrent); err == nil && info.Size() < at { // it was cut
		if _, err := t.file.Seek(0, io.SeekStart); err != nil {
			return false, err
		}
		t.begin()
	}
	for {
		before := len(t.lines.line)
		line, err := t.lines.more()
		switch {
		case err == nil:
			t.grown = time.Now()
		case !errors.Is(err, io.EOF):
			return false, fmt.Errorf("read %s: %w", t.path, err)
		default:
			if len(line) > before {
				t.grown = time.Now()
			}
			if newest || time.Since(t.grown) < linger {
				return false, nil
			}
			ended = true // without a newline at its end, perhaps
		}
		if a, err := t.parser.Parse(line); a != nil || err != nil {
			if err := each(a, err); err != nil {
				return false, err
			}
		}
		t.lines.line = t.lines.line[:0]
		if ended {
			return true, nil
		}
	}
}
