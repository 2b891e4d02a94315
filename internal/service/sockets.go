package service

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"

	"capd/config"
	"capd/internal/control"
	"capd/internal/daemon"
	"capd/internal/hint"
	"capd/internal/metrics"
	"capd/internal/notify"
	"capd/internal/text"
)

// A backend is the daemon as the control socket commands it.
type backend struct {
	*daemon.Daemon
	reload func(context.Context) error
	leaver *leaver
}

// Report returns the status, and what a restart costs.
func (b backend) Report() control.Status {
	s := b.Daemon.Report()
	s.Restart = survivalOf(b.leaver.survival(), s.Interfaces)
	return s
}

// Reload makes the daemon record by the configuration as it is now.
func (b backend) Reload(ctx context.Context) error { return b.reload(ctx) }

// Leave makes the recorders leave their rings to another process or program.
func (b backend) Leave(ctx context.Context, order string) (func(*net.UnixConn), error) {
	return b.leaver.prepare(ctx, order)
}

// retryEvery is how long a socket that can't be had is not tried again.
const retryEvery = 10 * time.Second

// sockets are where a running capd listens. None of them is worth a recording:
// one that can't be had is tried again, and recording goes on.
type sockets struct {
	settings config.Control
	control  *control.Listener // nil: not yet
	metrics  net.Listener      // nil: not yet
	log      *slog.Logger
}

// listen opens the sockets, as far as that can be done, before the process gives
// up what it may.
func listen(c *config.Control, inherited notify.Files, kept *control.OpenSocket, log *slog.Logger) *sockets {
	s := &sockets{settings: *c, log: log}
	var err error
	if kept != nil {
		if s.control, err = kept.Resume(); err != nil {
			s.missing("the control socket is made anew", err)
		} else if c.Socket != config.ControlAuto && c.Socket != kept.Path {
			_ = s.control.Close()
			s.control = nil
		}
	}
	if c.Socket != "" && s.control == nil {
		if s.control, err = control.Listen(c.Socket, c.Group); err != nil {
			s.missing("no control socket: capd status can't ask", err)
		}
	}
	if s.metrics, err = inherited.Listener(); err != nil {
		log.Warn("no socket of the service manager", "error", err)
	}
	if s.metrics == nil && c.Metrics != "" {
		if s.metrics, err = listenMetrics(c.Metrics); err != nil {
			s.missing("metrics are not served", err)
		}
	}
	if s.metrics == nil {
		return s
	}
	if a, ok := s.metrics.Addr().(*net.TCPAddr); ok && !a.IP.IsLoopback() {
		log.Warn("metrics are open to whoever reaches this address", "address", a.String())
	}
	return s
}

// missing says what a socket that can't be had means.
func (s *sockets) missing(what string, err error) {
	args := []any{"error", err, "again", "every " + text.Duration(retryEvery)}
	if lines := hint.Of(err); len(lines) > 0 {
		args = append(args, "hint", strings.Join(lines, "; "))
	}
	s.log.Warn(what, args...)
}

// A metricsError says why metrics can't be served over TCP.
type metricsError struct{ error }

func (e *metricsError) Error() string { return "listen for metrics: " + e.error.Error() }
func (e *metricsError) Unwrap() error { return e.error }

// Hints says what to do about it.
func (e *metricsError) Hints() []string {
	if errors.Is(e, syscall.EAFNOSUPPORT) || errors.Is(e, syscall.EPERM) {
		return []string{"systemd's unit forbids it: capd-metrics.socket listens for capd, see docs/service.md"}
	}
	return nil
}

func listenMetrics(address string) (net.Listener, error) {
	l, err := net.Listen("tcp", metricsAddress(address))
	if err != nil {
		return nil, &metricsError{err}
	}
	return l, nil
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
	if s.control != nil {
		return s.control.Path()
	}
	if s.settings.Socket == config.ControlAuto {
		return ""
	}
	return s.settings.Socket // it is tried again
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
	if c := s.settings; c.Socket != "" {
		serving.Go(func() {
			if s.control == nil {
				s.control, _ = retry(ctx, func() (*control.Listener, error) { return control.Listen(c.Socket, c.Group) })
			}
			if s.control != nil {
				s.log.Info("control socket is ready", "socket", s.control.Path())
				s.report(control.NewServer(b, handler).Serve(ctx, s.control))
			}
		})
	}
	if s.metrics != nil || s.settings.Metrics != "" {
		serving.Go(func() {
			if s.metrics == nil {
				s.metrics, _ = retry(ctx, func() (net.Listener, error) { return listenMetrics(s.settings.Metrics) })
			}
			if s.metrics != nil {
				s.log.Info("metrics are served", "address", s.metrics.Addr().String())
				s.report(control.ServeMetrics(ctx, s.metrics, handler))
			}
		})
	}
	serving.Wait()
	s.close()
}

// retry tries every retryEvery until it succeeds or the context ends.
func retry[T any](ctx context.Context, try func() (T, error)) (got T, err error) {
	tick := time.NewTicker(retryEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return got, ctx.Err()
		case <-tick.C:
		}
		if got, err = try(); err == nil {
			return got, nil
		}
		var none T
		got = none // an interface around a nil pointer is none
	}
}

func (s *sockets) report(err error) {
	if err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		s.log.Error("no longer listening", "error", err)
	}
}
