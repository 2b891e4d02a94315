package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"capd/internal/hint"
	"capd/internal/text"
)

// ErrNotFound is returned if no running capd is found.
var ErrNotFound = hint.New("no running capd is found",
	"start one with capd run, or name its socket with --socket PATH (control.socket in capd.toml)",
	"one that another user started by hand is found in this way only: its log says where its socket is")

// An AmbiguousError lists the sockets of several capds.
type AmbiguousError struct{ Sockets []string }

func (e *AmbiguousError) Error() string { return fmt.Sprintf("%d capds run here", len(e.Sockets)) }

// Hints lists the sockets to choose from.
func (e *AmbiguousError) Hints() []string {
	all := []string{"choose one:"}
	for _, s := range e.Sockets {
		all = append(all, "--socket "+text.Name(s))
	}
	return all
}

// A Finder sends requests to the running capd. If it has ended, the next request looks for another
// one.
type Finder struct {
	Socket     string        // socket of the capd; empty: find the running one
	Configured func() string // returns a further socket to try, or ""; may be nil

	mu    sync.Mutex
	found *Client // nil: not found yet
}

// Client returns the client of the capd that answered last, or looks for one.
func (f *Finder) Client() (*Client, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.found == nil {
		path, err := f.path()
		if err != nil {
			return nil, err
		}
		f.found = NewClient(path)
	}
	return f.found, nil
}

func (f *Finder) path() (string, error) {
	if f.Socket != "" {
		return f.Socket, nil
	}
	all := Find()
	if f.Configured != nil {
		if s := f.Configured(); s != "" && s != Auto && !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	switch len(all) {
	case 0:
		return "", ErrNotFound
	case 1:
		return all[0], nil
	}
	return "", &AmbiguousError{all}
}

// Close closes idle connections.
func (f *Finder) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.found != nil {
		f.found.Close()
		f.found = nil
	}
}

// Ask calls do with a client. If no capd answers, the next call looks for another one.
func (f *Finder) Ask(do func(*Client) error) error {
	c, err := f.Client()
	if err != nil {
		return err
	}
	err = do(c)
	if errors.As(err, new(*UnreachableError)) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.found == c {
			f.found = nil
		}
		c.Close()
	}
	return err
}

// Status calls Client.Status.
func (f *Finder) Status(ctx context.Context, looker string) (status *Status, err error) {
	err = f.Ask(func(c *Client) error {
		status, err = c.Status(ctx, looker)
		return err
	})
	return status, err
}

// Rotate calls Client.Rotate.
func (f *Finder) Rotate(ctx context.Context, iface string) (files []string, err error) {
	err = f.Ask(func(c *Client) error {
		files, err = c.Rotate(ctx, iface)
		return err
	})
	return files, err
}

// Hold calls Client.Hold.
func (f *Finder) Hold(ctx context.Context, which Selection) (files []string, err error) {
	err = f.Ask(func(c *Client) error {
		files, err = c.Hold(ctx, which)
		return err
	})
	return files, err
}
