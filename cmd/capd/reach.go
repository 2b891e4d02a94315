package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"capd/internal/control"
	"capd/internal/text"
	"capd/ledger"
	"capd/store"
)

// recorders are the capds that run here, for package extract.
type recorders struct{ configured string } // socket that the configuration names

// at calls do with the capd that records into the directory. It returns false if none does, and an error if one does and can't
// be asked.
func (r recorders) at(ctx context.Context, dir string, do func(*control.Client) error) (found bool, err error) {
	askAll(ctx, r.configured, func(c *control.Client, s *control.Status) {
		for i := range s.Directories {
			if !found && sameDirectory(dir, s.Directories[i].Path) {
				found, err = true, do(c)
			}
		}
	})
	if found {
		return true, err
	}
	if lastingly(ctx, dir) {
		return true, errors.New("a capd records there, and its control socket can't be asked")
	}
	return false, nil
}

const (
	// noteTime is how long who has asked something may hold a directory's lock, to write that into the ledger.
	noteTime  = time.Second
	notePause = 10 * time.Millisecond
)

// lastingly reports whether a recorder holds the directory's lock, and not one who writes a line into its ledger.
func lastingly(ctx context.Context, dir string) bool {
	for end := time.Now().Add(noteTime); ; time.Sleep(notePause) {
		if busy, err := store.InUse(dir); !busy || err != nil {
			return false
		}
		if time.Now().After(end) || ctx.Err() != nil {
			return true
		}
	}
}

// Ask asks the directory's ledger.
func (r recorders) Ask(ctx context.Context, dir string, q ledger.Question) (*ledger.Answer, error) {
	return askLive(ctx, dir, r.configured, q, ledger.ReadOptions{NoLines: true})
}

// note writes into the ledger of a directory who got what out of it: through the capd that records there, or directly.
func (r recorders) note(ctx context.Context, dir, question string, packets, bytes uint64) error {
	name, sudo := asker()
	found, err := r.at(ctx, dir, func(c *control.Client) error {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return err
		}
		return c.Extracted(ctx, control.Extraction{Directory: abs, User: name, Sudo: sudo, Question: question, Packets: packets, Bytes: bytes})
	})
	if found {
		return err
	}
	if _, err := os.Lstat(filepath.Join(dir, ledger.FileName)); errors.Is(err, fs.ErrNotExist) {
		return errors.New("there is none")
	}
	lock, err := store.LockDirectory(dir)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Release() }()
	line := ledger.Extract(ledger.Extraction{UID: os.Getuid(), User: name, Sudo: sudo, Question: question, Packets: packets, Bytes: bytes})
	return appendLines(dir, lock, []ledger.Entry{line})
}

// asker returns the name of this process's user, and who became that with sudo.
func asker() (name, sudo string) {
	if u, err := user.LookupId(strconv.Itoa(os.Getuid())); err == nil {
		name = u.Username
	}
	if by := os.Getenv("SUDO_USER"); by != "" {
		sudo = fmt.Sprintf("%s (uid %s)", text.Line(by), text.Line(os.Getenv("SUDO_UID")))
	}
	return name, sudo
}
