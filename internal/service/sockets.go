package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"

	"capd/config"
	"capd/internal/control"
	"capd/internal/daemon"
	"capd/internal/metrics"
)

// A backend is the daemon as the control socket commands it.
type backend struct {
	*daemon.Daemon
	reload func(context.Context) error
}

// Reload makes the daemon record by the configuration as it is now.
func (b backend) Reload(ctx context.Context) error { return b.reload(ctx) }

// sockets are where a running capd listens.
type sockets struct {
	control *control.Listener // nil: none
	metrics net.Listener      // nil: none
	log     *slog.Logger
}

// listen opens the sockets before anything is recorded. One that capd was to
// choose itself is not worth a recording: without it there is a warning.
func listen(c *config.Control, log *slog.Logger) (*sockets, error) {
	s := &sockets{log: log}
	var err error
	if c.Socket != "" {
		s.control, err = control.Listen(c.Socket, c.Group)
	}
	if err != nil && c.Socket == config.ControlAuto && c.Group == "" {
		log.Warn("no control socket: capd status can't ask", "error", err)
		err = nil
	}
	if err != nil {
		return nil, err
	}
	if c.Metrics == "" {
		return s, nil
	}
	if s.metrics, err = net.Listen("tcp", metricsAddress(c.Metrics)); err != nil {
		s.close()
		return nil, fmt.Errorf("listen for metrics: %w", err)
	}
	if a, ok := s.metrics.Addr().(*net.TCPAddr); ok && !a.IP.IsLoopback() {
		log.Warn("metrics are open to whoever reaches this address", "address", a.String())
	}
	return s, nil
}

// metricsAddress is this host alone where no other is named.
func metricsAddress(s string) string {
	if strings.HasPrefix(s, ":") {
		return "127.0.0.1" + s
	}
	return s
}

// path is that of the control socket; empty: none.
func (s *sockets) path() string {
	if s.control == nil {
		return ""
	}
	return s.control.Path()
}

func (s *sockets) close() {
	if s.control != nil {
		_ = s.control.Close()
	}
	if s.metrics != nil {
		_ = s.metrics.Close()
	}
}

// serve answers until the context ends, and then closes the sockets.
func (s *sockets) serve(ctx context.Context, b control.Backend) {
	handler := metrics.Handler(b.Report)
	var serving sync.WaitGroup
	if s.control != nil {
		s.log.Info("control socket is ready", "socket", s.control.Path())
		serving.Go(func() { s.report(control.NewServer(b, handler).Serve(ctx, s.control)) })
	}
	if s.metrics != nil {
		s.log.Info("metrics are served", "address", s.metrics.Addr().String())
		serving.Go(func() { s.report(control.ServeMetrics(ctx, s.metrics, handler)) })
	}
	serving.Wait()
	s.close()
}

func (s *sockets) report(err error) {
	if err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		s.log.Error("no longer listening", "error", err)
	}
}
