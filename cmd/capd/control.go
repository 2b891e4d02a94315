package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"

	"capd/config"
	"capd/internal/control"
	"capd/internal/daemon"
	"capd/internal/metrics"

	"github.com/spf13/cobra"
)

// A backend is the daemon as the control socket commands it.
type backend struct {
	*daemon.Daemon
	reload func(context.Context) error
}

func (b backend) Reload(ctx context.Context) error { return b.reload(ctx) }

// ears are where a running capd listens; nil is nowhere.
type ears struct {
	socket  *control.Listener
	metrics net.Listener
	log     *slog.Logger
}

// listen opens the ears before anything is recorded. A socket that capd was to
// choose itself is not worth a recording: without it there is a warning.
func listen(c *config.Control, log *slog.Logger) (*ears, error) {
	e := &ears{log: log}
	var err error
	if c.Socket != "" {
		e.socket, err = control.Listen(c.Socket, c.Group)
	}
	if err != nil && c.Socket == config.ControlAuto && c.Group == "" {
		log.Warn("no control socket: capd status can't ask", "error", err)
		err = nil
	}
	if err != nil {
		return nil, err
	}
	if c.Metrics == "" {
		return e, nil
	}
	if e.metrics, err = net.Listen("tcp", metricsAddress(c.Metrics)); err != nil {
		e.close()
		return nil, fmt.Errorf("listen for metrics: %w", err)
	}
	if a, ok := e.metrics.Addr().(*net.TCPAddr); ok && !a.IP.IsLoopback() {
		log.Warn("metrics are open to whoever reaches this address", "address", a.String())
	}
	return e, nil
}

// metricsAddress is this host alone where no other is named.
func metricsAddress(s string) string {
	if strings.HasPrefix(s, ":") {
		return "127.0.0.1" + s
	}
	return s
}

// path is the socket's; empty: none.
func (e *ears) path() string {
	if e.socket == nil {
		return ""
	}
	return e.socket.Path()
}

func (e *ears) close() {
	if e.socket != nil {
		_ = e.socket.Close()
	}
	if e.metrics != nil {
		_ = e.metrics.Close()
	}
}

// serve answers until the context ends, and then closes the ears.
func (e *ears) serve(ctx context.Context, b control.Backend) {
	handler := metrics.Handler(b.Report)
	var serving sync.WaitGroup
	if e.socket != nil {
		e.log.Info("control socket is ready", "socket", e.socket.Path())
		serving.Go(func() { e.report(control.NewServer(b, handler).Serve(ctx, e.socket)) })
	}
	if e.metrics != nil {
		e.log.Info("metrics are served", "address", e.metrics.Addr().String())
		serving.Go(func() { e.report(control.ServeMetrics(ctx, e.metrics, handler)) })
	}
	serving.Wait()
	e.close()
}

func (e *ears) report(err error) {
	if err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		e.log.Error("no longer listening", "error", err)
	}
}

// asker is how commands find the capd that they ask.
type asker struct{ socket string }

func (a *asker) bind(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.socket, "socket", "", "ask the capd that listens on `PATH` (default: the one that runs here)")
}

// errNoCapd is returned when no capd is found.
var errNoCapd = errors.New("no running capd is found")

// An ambiguousError lists the sockets of several capds.
type ambiguousError struct{ sockets []string }

func (e *ambiguousError) Error() string { return fmt.Sprintf("%d capds run here", len(e.sockets)) }

func ambiguous(err error) []string {
	var a *ambiguousError
	errors.As(err, &a)
	var all []string
	for _, s := range a.sockets {
		all = append(all, "--socket "+quoted(s))
	}
	return append([]string{"choose one:"}, all...)
}

func unreachable(err error) []string {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return []string{"the socket is for capd's user and the group control.group of capd.toml"}
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return []string{"no capd listens there: without --socket the one that runs here is found"}
	}
	return nil
}

// client returns a client of the capd that is meant.
func (a *asker) client() (*control.Client, error) {
	if a.socket != "" {
		return control.NewClient(a.socket), nil
	}
	found := control.Find()
	if cfg, err := config.Load(defaultConfig); err == nil && cfg.Control.Socket != "" && cfg.Control.Socket != config.ControlAuto {
		found = append(found, cfg.Control.Socket)
	}
	switch len(found) {
	case 0:
		return nil, errNoCapd
	case 1:
		return control.NewClient(found[0]), nil
	}
	return nil, &ambiguousError{found}
}
