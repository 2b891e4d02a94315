package alert

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"sync"
)

// SocketMode is the mode of a socket for alerts.
const SocketMode = 0o660

// maxClients is how many processes may write to a socket at a time.
const maxClients = 64

// Listen makes a unix socket, and calls each for the lines that are written to it, as Read does, until the context ends or each returns
// an error. network is "unix", to which programs connect, or "unixgram", of which each datagram has whole lines.
func Listen(ctx context.Context, network, path string, each func(*Alert, error) error) error {
	if err := removeStale(network, path); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var mu sync.Mutex // each is called by one goroutine at a time
	serial := func(a *Alert, err error) error {
		mu.Lock()
		defer mu.Unlock()
		if err := each(a, err); err != nil {
			cancel(err)
			return err
		}
		return nil
	}
	var err error
	if network == "unixgram" {
		err = datagrams(ctx, path, serial)
	} else {
		err = connections(ctx, path, serial)
	}
	if ctx.Err() != nil {
		err = nil
		if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
			err = cause
		}
	}
	return err
}

// removeStale removes a socket that a process has left.
func removeStale(network, path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s is no socket", path)
	}
	if c, err := net.Dial(network, path); err == nil {
		c.Close()
		return fmt.Errorf("%s: another process listens there", path)
	}
	return os.Remove(path)
}

// datagrams reads datagrams.
func datagrams(ctx context.Context, path string, each func(*Alert, error) error) error {
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer os.Remove(path)
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	if err := os.Chmod(path, SocketMode); err != nil {
		return err
	}
	p, b := NewParser(path), make([]byte, MaxLine+1)
	for {
		n, err := c.Read(b)
		if err != nil {
			return err
		}
		for line := range bytes.Lines(b[:n]) {
			if a, err := p.Parse(bytes.TrimSuffix(line, []byte("\n"))); a != nil || err != nil {
				if err := each(a, err); err != nil {
					return err
				}
			}
		}
	}
}

// connections reads what comes over connections.
func connections(ctx context.Context, path string, each func(*Alert, error) error) error {
	l, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	defer l.Close()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	if err := os.Chmod(path, SocketMode); err != nil {
		return err
	}
	var all sync.WaitGroup
	defer all.Wait()
	clients := make(chan struct{}, maxClients)
	for {
		select {
		case clients <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		c, err := l.Accept()
		if err != nil {
			return err
		}
		all.Go(func() {
			defer func() { <-clients }()
			defer c.Close()
			defer context.AfterFunc(ctx, func() { c.Close() })()
			_ = Read(c, path, each) // a client that goes away is none of the others' matter
		})
	}
}

// SocketOf returns the network and path of what --alert names, if that is a socket.
func SocketOf(name string) (network, path string, ok bool) {
	for _, network := range []string{"unix", "unixgram"} {
		if path, ok := strings.CutPrefix(name, network+":"); ok {
			return network, path, true
		}
	}
	return "", "", false
}
