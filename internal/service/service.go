// Package service is the life of the process that records: its log, its signals, its sockets, what it gives up, the
// service manager that watches it, and its end.
package service

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"capd/config"
	"capd/internal/daemon"
	"capd/internal/notify"
	"capd/internal/terminal"
)

// Options say how to run.
type Options struct {
	Load   func() (*config.Config, error) // reads the configuration, at each reload too
	File   string                         // that Load reads; empty: the default one or none
	Fixed  bool                           // there is nothing to read again: a hangup ends the run
	Daemon daemon.Options                 // without Config, Log and Ready

	Confine Confiner // nil: give up nothing
	Screen  *terminal.Screen
	Line    func([]daemon.Status) string                // the screen's last line
	Summary func([]daemon.Status, time.Duration) string // printed at the end of a run that took so long
	Totals  func([]daemon.Status, time.Duration) []any  // the same as the keys and values of a line, where the log is of JSON
}

// failure is the least time that a start takes that fails: a service manager
// starts capd again at once, so that a crash costs few frames.
const failure = time.Second

// Run records until a signal, the context or the daemon's options end it.
func Run(ctx context.Context, o Options) error {
	began, managed := time.Now(), os.Getenv("NOTIFY_SOCKET") != ""
	var started atomic.Bool
	err := run(ctx, &o, &started)
	if err != nil && managed && !started.Load() {
		select {
		case <-ctx.Done():
		case <-time.After(time.Until(began.Add(failure))):
		}
	}
	return err
}

// run does what Run does, and says when it has started to record.
func run(ctx context.Context, o *Options, started *atomic.Bool) error {
	cfg, err := o.Load()
	if err != nil {
		return err
	}
	// A reader of our messages that goes away must not end the recording.
	signal.Ignore(syscall.SIGPIPE)
	log, level := newLogger(cfg.Log, o.Screen)
	manager, err := notify.Open()
	if err != nil {
		log.Warn("the service manager is not told when capd is ready", "error", err)
	}
	inherited := notify.Inherited()
	defer inherited.Close()
	sockets := listen(&cfg.Control, inherited, log)
	defer sockets.close()
	r := &reloader{load: o.Load, level: level}
	relaxTimers()
	var kept *outlast
	o.Daemon.Restart, kept = survivors(manager, inherited, log)
	if o.Confine != nil {
		if r.held, err = o.Confine(cfg, o.File, sockets.path(), o.Daemon.Restart.Directories(), log); err != nil {
			return err
		}
	}
	manager.Status("Reading what earlier runs have left")
	o.Daemon.Config, o.Daemon.Log, o.Daemon.Restarts = cfg, log, manager != nil
	o.Daemon.Ready = func() {
		started.Store(true)
		manager.Ready()
		kept.check()
	}
	d, err := daemon.New(o.Daemon)
	if err != nil {
		return err
	}
	r.daemon, r.reloaded = d, kept.check
	if kept != nil {
		defer alongside(ctx, kept.run)()
	}
	defer alongside(ctx, func(ctx context.Context) { sockets.serve(ctx, backend{d, r.reload}) })()
	if !o.Fixed {
		defer onHangup(ctx, func(ctx context.Context) {
			if err := manager.Reload(func() error { return r.reload(ctx) }); err != nil {
				log.Error("the configuration can't be used: nothing has changed", "error", strings.ReplaceAll(err.Error(), "\n", "; "))
			}
		})()
	}
	reporter := &reporter{
		manager: manager, daemon: d, log: log, outlast: kept,
		// Twice, as hooks may take as long again, and some for the disk's last word.
		stop: 2*time.Duration(cfg.StopTimeout) + 5*time.Second,
	}
	if OnlyJSON(cfg.Log, o.Screen) {
		o.Summary = func(all []daemon.Status, took time.Duration) string {
			return jsonLine(slog.LevelInfo, "ended", o.Totals(all, took)...)
		}
	}
	return record(ctx, d, reporter, o)
}

// again is how long after the first a second signal counts as one: timeout(1)
// and some shells send one order twice.
const again = time.Second

// record runs the daemon under the system's signals, and prints the end.
func record(ctx context.Context, d *daemon.Daemon, r *reporter, o *Options) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	end := []os.Signal{syscall.SIGINT, syscall.SIGTERM}
	if o.Fixed && !signal.Ignored(syscall.SIGHUP) { // as under nohup
		end = append(end, syscall.SIGHUP)
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, append(end, syscall.SIGUSR1)...)
	defer signal.Stop(signals)

	ended, over, reported := make(chan error, 1), make(chan struct{}), make(chan struct{})
	go func() {
		err := d.Run(ctx)
		close(over)
		ended <- err
	}()
	go func() {
		defer close(reported)
		r.run(ctx.Done(), over)
	}()
	refresh := o.Screen.Refresh()
	defer refresh.Stop()
	started := time.Now()
	var stopping time.Time
	for {
		select {
		case err := <-ended:
			<-reported
			o.Screen.Clear()
			_, _ = o.Screen.Write([]byte(o.Summary(d.Status(), time.Since(started))))
			return err
		case <-refresh.C:
			o.Screen.Show(o.Line(d.Status()))
		case sig := <-signals:
			switch {
			case sig == syscall.SIGUSR1:
				d.Rotate()
			case stopping.IsZero():
				stopping = time.Now()
				cancel()
			case time.Since(stopping) > again:
				d.Abort()
			}
		}
	}
}

// onHangup calls f at each SIGHUP, until end is called.
func onHangup(ctx context.Context, f func(context.Context)) (end func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	stop := alongside(ctx, func(ctx context.Context) {
		for {
			select {
			case <-ctx.Done():
				return
			case <-signals:
				f(ctx)
			}
		}
	})
	return func() {
		signal.Stop(signals)
		stop()
	}
}

// alongside runs f in a goroutine of its own, with a context that end cancels. end waits until f has returned.
func alongside(ctx context.Context, f func(context.Context)) (end func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	running.Go(func() { f(ctx) })
	return func() {
		cancel()
		running.Wait()
	}
}
