package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"
)

// A Case is what a file is held for. NAME.hold has a line of JSON for each of its cases.
//
// A file without a line, as a hold without a case makes it, and each line that is not that of a case, hold the file
// without a case. So a hold file that anybody has made holds, whatever is in it.
type Case struct {
	Name     string    `json:"case"`
	Note     string    `json:"note,omitempty"`
	Since    time.Time `json:"since"`              // when it was held
	UID      int       `json:"uid"`                // of who held it
	User     string    `json:"user,omitempty"`     // its name
	Sudo     string    `json:"sudo,omitempty"`     // who became that user by sudo
	Question string    `json:"question,omitempty"` // a command that gives the packets for which it is held
}

// Most bytes of the texts of a case, and of a hold file.
const (
	maxCaseName = 128
	MaxNote     = 400
	maxQuestion = 2000
	maxAsker    = 300
	maxHoldFile = 64 << 10
)

// noCase is the line that holds a file without a case, besides lines of cases.
const noCase = "{}"

// draftHold is the name of a hold file before it is whole.
const draftHold = ".capd-hold.tmp"

// CheckCase reports what is wrong with the name of a case.
func CheckCase(name string) error {
	odd := func(r rune) bool { return !unicode.IsPrint(r) || unicode.IsSpace(r) }
	if name == "" || len(name) > maxCaseName || !utf8.ValidString(name) || name[0] == '-' || strings.ContainsFunc(name, odd) {
		return fmt.Errorf("a case has a name of up to %d bytes that can be printed, without spaces, and that does not begin with -", maxCaseName)
	}
	return nil
}

// cut returns the case with texts that a hold file takes.
func (c Case) cut() Case {
	for text, most := range map[*string]int{&c.Note: MaxNote, &c.Question: maxQuestion, &c.User: maxAsker, &c.Sudo: maxAsker} {
		*text = strings.ToValidUTF8(*text, "?")
		if len(*text) > most {
			*text = strings.ToValidUTF8((*text)[:most-3], "") + "..."
		}
	}
	c.Since = c.Since.UTC().Truncate(time.Second)
	return c
}

// Holds are why a file is held.
type Holds struct {
	Plain bool   // without a case
	Cases []Case // each of another name

	others []string // lines that are not those of cases
}

// any reports whether there is a hold.
func (h *Holds) any() bool { return h.Plain || len(h.Cases) > 0 }

// Of returns the case of that name, or nil.
func (h *Holds) Of(name string) *Case {
	for i := range h.Cases {
		if h.Cases[i].Name == name {
			return &h.Cases[i]
		}
	}
	return nil
}

// parseHolds parses a hold file. Whatever it does not understand holds the file without a case.
func parseHolds(b []byte) (h Holds) {
	for line := range bytes.Lines(b) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			continue
		}
		var c Case
		switch {
		case json.Unmarshal(line, &c) != nil || CheckCase(c.Name) != nil:
			h.others = append(h.others, string(line))
		case h.Of(c.Name) == nil: // the first line of a case counts
			h.Cases = append(h.Cases, c)
		}
	}
	h.Plain = len(h.others) > 0 || len(h.Cases) == 0
	return h
}

// append spells a hold file.
func (h *Holds) append(b []byte) ([]byte, error) {
	others := h.others
	switch {
	case !h.Plain:
		others = nil
	case len(others) == 0 && len(h.Cases) > 0:
		others = []string{noCase}
	}
	for _, line := range others {
		b = append(append(b, line...), '\n')
	}
	for i := range h.Cases {
		line, err := json.Marshal(h.Cases[i].cut())
		if err != nil {
			return nil, err
		}
		b = append(append(b, line...), '\n')
	}
	if len(b) > maxHoldFile {
		return nil, fmt.Errorf("it is held for %d cases: there is no room for more", len(h.Cases)-1)
	}
	return b, nil
}

// readHolds reads a hold file. The error wraps fs.ErrNotExist if there is none; with another one, it holds its file without
// a case, and what else is not known.
func readHolds(path string) (Holds, error) {
	h, err := OpenRegular(path, os.O_RDONLY)
	if err != nil {
		return Holds{Plain: !errors.Is(err, fs.ErrNotExist)}, err
	}
	defer h.Close()
	b, err := io.ReadAll(io.LimitReader(h, maxHoldFile+1))
	if err == nil && len(b) > maxHoldFile {
		err = fmt.Errorf("%s: larger than %d bytes", path, maxHoldFile)
	}
	if err != nil {
		return Holds{Plain: true}, err
	}
	return parseHolds(b), nil
}

// Holds reads why a file is held.
func (d *Directory) Holds(name Name) Holds {
	path := d.holdPath(name)
	h, _ := readHolds(path) // what can't be read holds too
	for _, above := range heldBeside {
		if _, err := os.Lstat(filepath.Join(d.path, name.String()+above.Ext()+Hold.Ext())); err == nil {
			h.Plain = true
		}
	}
	return h
}

// heldBeside are the states under whose names people may have made hold files. Those of capd have the finished file's name.
var heldBeside = []State{Zstd, Gzip, Recording}

func (d *Directory) holdPath(name Name) string {
	return filepath.Join(d.path, name.String()+Hold.Ext())
}

// HoldFor is Hold for a case. It reports whether the file was not held for the case before; if it was, the case stays as it is.
func (d *Directory) HoldFor(name Name, c Case) (changed bool, err error) {
	if err := CheckCase(c.Name); err != nil {
		return false, err
	}
	return d.hold(name, func(h *Holds) bool {
		if h.Of(c.Name) != nil {
			return false
		}
		h.Cases = append(h.Cases, c)
		return true
	})
}

// hold adds a hold to those of a file.
func (d *Directory) hold(name Name, add func(*Holds) bool) (changed bool, err error) {
	d.holding.Lock()
	defer d.holding.Unlock()
	before, err := readHolds(d.holdPath(name))
	there := !errors.Is(err, fs.ErrNotExist)
	after := before
	if changed = add(&after); changed {
		if there && err != nil {
			return false, err
		}
		if err := d.writeHolds(name, &after); err != nil {
			return false, err
		}
	}
	// Check after making the hold: the file may have been deleted just before.
	err = nil
	if !d.Has(name) {
		path := filepath.Join(d.path, name.String())
		err = &fs.PathError{Op: "hold", Path: path, Err: fs.ErrNotExist}
		if changed && !there {
			_ = os.Remove(d.holdPath(name))
		}
	}
	d.LookAt(name.String() + Hold.Ext())
	return changed && err == nil, err
}

// writeHolds replaces a hold file at once, so that the file is held at any moment. Without a hold it is removed.
func (d *Directory) writeHolds(name Name, h *Holds) error {
	path, tmp := d.holdPath(name), filepath.Join(d.path, draftHold)
	if !h.any() {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return SyncDirectory(d.path)
	}
	b, err := h.append(nil)
	if err != nil {
		return fmt.Errorf("hold %s: %w", filepath.Join(d.path, name.String()), err)
	}
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) { // of a process that was killed
		return err
	}
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, DefaultFileMode)
	if err != nil {
		return err
	}
	GiveToOwner(f)
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		_ = os.Remove(tmp)
		return err
	}
	return SyncDirectory(d.path)
}

// ReleaseCase ends the hold of a file for a case. It reports whether it was held for it. For other cases, and without one, it
// stays held.
func (d *Directory) ReleaseCase(name Name, of string) (changed bool, err error) {
	return d.release(name, func(h *Holds) bool {
		n := len(h.Cases)
		h.Cases = slices.DeleteFunc(slices.Clone(h.Cases), func(c Case) bool { return c.Name == of })
		return len(h.Cases) < n
	})
}

// release removes a hold of a file.
func (d *Directory) release(name Name, remove func(*Holds) bool) (changed bool, err error) {
	d.holding.Lock()
	defer d.holding.Unlock()
	h, err := readHolds(d.holdPath(name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EIO):
		return false, err // it may have cases; what is no file, or too large, is none of capd's
	case !remove(&h):
		return false, nil
	}
	if err := d.writeHolds(name, &h); err != nil {
		return false, err
	}
	d.LookAt(name.String() + Hold.Ext())
	return true, nil
}
