package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"
)

// maxAnswer is the largest answer in bytes that a client reads.
const maxAnswer = 64 << 20

// A Client sends requests to a running capd.
type Client struct {
	path string
	http http.Client
}

// NewClient returns a client of the capd that listens on the socket path.
func NewClient(path string) *Client {
	c := &Client{path: path}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
	c.http = http.Client{Transport: &http.Transport{DialContext: dial, MaxIdleConns: 1}, Timeout: patience + 5*time.Second}
	return c
}

// Path returns the path of the socket.
func (c *Client) Path() string { return c.path }

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Status returns capd's status. looker is a name that the caller chooses, or empty: capd remembers
// when a request with that name came last.
func (c *Client) Status(ctx context.Context, looker string) (*Status, error) {
	query := ""
	if looker != "" {
		query = "?looker=" + url.QueryEscape(looker)
	}
	s := new(Status)
	if err := c.ask(ctx, http.MethodGet, "status"+query, nil, s); err != nil {
		return nil, err
	}
	return s, nil
}

// Rotate ends the current files of an interface, or of all interfaces for the empty name. It
// returns their paths once they are finished.
func (c *Client) Rotate(ctx context.Context, iface string) ([]string, error) {
	return c.order(ctx, "rotate", RotateOrder{iface})
}

// Reload makes capd read its configuration again.
func (c *Client) Reload(ctx context.Context) error {
	_, err := c.order(ctx, "reload", struct{}{})
	return err
}

// Hold protects files from being deleted by limits. It returns the files that the selection
// matches.
func (c *Client) Hold(ctx context.Context, s Selection) ([]string, error) {
	return c.order(ctx, "hold", s)
}

// Release ends the protection of files by Hold.
func (c *Client) Release(ctx context.Context, s Selection) ([]string, error) {
	return c.order(ctx, "release", s)
}

func (c *Client) order(ctx context.Context, verb string, in any) ([]string, error) {
	var out Answer
	err := c.ask(ctx, http.MethodPost, verb, in, &out)
	return out.Files, err
}

func (c *Client) ask(ctx context.Context, method, verb string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	if in == nil {
		body = nil
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://capd/v1/"+verb, bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		var inner *url.Error
		if errors.As(err, &inner) { // leave out the URL, which means nothing to users
			err = inner.Err
		}
		return &UnreachableError{c.path, err}
	}
	defer resp.Body.Close()
	d := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer))
	if resp.StatusCode != http.StatusOK {
		var f failure
		if err := d.Decode(&f); err != nil || f.Error == "" {
			f.Error = resp.Status
		}
		return fmt.Errorf("capd says: %s", f.Error)
	}
	if err := d.Decode(out); err != nil {
		return &UnreachableError{c.path, err}
	}
	return nil
}

// An UnreachableError is returned if no capd answers.
type UnreachableError struct {
	Path string
	Err  error
}

func (e *UnreachableError) Error() string { return fmt.Sprintf("ask capd on %s: %v", e.Path, e.Err) }
func (e *UnreachableError) Unwrap() error { return e.Err }

// Hints says how to reach a capd.
func (e *UnreachableError) Hints() []string {
	switch {
	case errors.Is(e, fs.ErrPermission):
		return []string{"the socket is for capd's user and the group control.group of capd.toml"}
	case errors.Is(e, syscall.ECONNREFUSED), errors.Is(e, fs.ErrNotExist):
		return []string{"no capd listens there: without --socket the one that runs here is found"}
	}
	return nil
}
