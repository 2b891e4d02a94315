// Package service is the life of the process that records: its log, its signals, its sockets, what it gives up, the
// service manager that watches it, and its end.
package service

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"capd/config"
	"capd/internal/control"
	"capd/internal/daemon"
	"capd/internal/notify"
	"capd/internal/restart"
	"capd/internal/terminal"
)

// Options say how to run.
type Options struct {
	Load   func() (*config.Config, error) // reads the configuration, at each reload too
	File   string                         // that Load reads; empty: the default one or none
	Fixed  bool                           // there is nothing to read again: a hangup ends the run
	Daemon daemon.Options                 // without Config, Log and Ready

	Command  []string                                      // program and arguments by which an upgrade goes on; empty: there is none
	TakeOver func(*config.Config) (*control.Client, error) // returns the capd to take over from; nil: none

	Confine Confiner // nil: give up nothing
	Screen  *terminal.Screen
	Line    func([]daemon.Status) string                // the screen's last line
	Summary func([]daemon.Status, time.Duration) string // printed at the end of a run that took so long
	Totals  func([]daemon.Status, time.Duration) []any  // the same as the keys and values of a line, where the log is of JSON
}

// failure is the least time that a start takes that fails: a service manager
// starts capd again at once, so that a crash costs few frames.
const failure = time.Second

// Run records until a signal, the context or the daemon's options end it, or until another process has taken over.
func Run(ctx context.Context, o Options) error {
	began, managed := time.Now(), os.Getenv("NOTIFY_SOCKET") != ""
	var started atomic.Bool
	err := run(ctx, o, &started)
	if err != nil && managed && !started.Load() {
		select {
		case <-ctx.Done():
		case <-time.After(time.Until(began.Add(failure))):
		}
	}
	return err
}

// run does what Run does, and says when it has started to record.
func run(ctx context.Context, o Options, started *atomic.Bool) error {
	cfg, err := o.Load()
	if err != nil {
		return err
	}
	// A reader of our messages that goes away must not end the recording.
	signal.Ignore(syscall.SIGPIPE)
	p := &process{options: o, started: started, inherited: notify.Inherited()}
	defer p.inherited.Close()
	p.log, p.level = newLogger(cfg.Log, o.Screen)
	if p.manager, err = notify.Open(); err != nil {
		p.log.Warn("the service manager is not told when capd is ready", "error", err)
	}
	from, err := inherit(ctx, &o, cfg, p.log)
	if err != nil {
		return err
	}
	if err := RelaxTimers(); err != nil {
		p.log.Debug("timers can't be late, which takes more of a processor", "error", err)
	}
	if len(from.files) > 0 {
		p.listen() // what the rings hold is read even if the end is ordered now
	}
	defer func() { signal.Stop(p.signals) }()
	for {
		next, err := p.record(ctx, cfg, &from)
		if next == nil {
			return err
		}
		if err != nil {
			p.log.Error("the recorders did not end in order", "error", err)
		}
		if !o.Fixed {
			signal.Ignore(syscall.SIGHUP) // until the next run asks for it: that reads the configuration anyway
		}
		if next.ordered || p.told() {
			_ = next.departure.conn.Close()
			var end context.CancelFunc
			ctx, end = context.WithCancel(ctx)
			end() // the next run reads what is in the rings, and ends
		} else if err := next.departure.pass(&p.options, next.files, passed{Confined: from.confined, Held: from.held}); err == nil {
			p.log.Info("another process has taken over")
			restart.CloseAll(next.files)
			return nil
		} else {
			p.log.Error("recording goes on in this process", "error", err)
		}
		cfg, from.files, from.control = next.config, next.files, next.departure.control
		awaitDirectories(cfg)
	}
}

// A process is what all runs of a process have in common: more than one if an attempt to leave has failed.
type process struct {
	options   Options
	log       *slog.Logger
	level     *slog.LevelVar
	manager   *notify.Manager
	started   *atomic.Bool // it has begun to record
	inherited notify.Files
	signals   chan os.Signal // that end a run or rotate its files; nil: they are the system's matter yet
}

// listen makes signals arrive at the process's channel, over all its runs.
func (p *process) listen() {
	if p.signals != nil {
		return
	}
	end := []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGUSR1}
	if p.options.Fixed && !signal.Ignored(syscall.SIGHUP) { // as under nohup
		end = append(end, syscall.SIGHUP)
	}
	p.signals = make(chan os.Signal, 4)
	signal.Notify(p.signals, end...)
}

// told reports whether a signal has ordered the end between two runs. Files were rotated there anyway.
func (p *process) told() bool {
	for {
		select {
		case sig := <-p.signals:
			if sig != syscall.SIGUSR1 {
				return true
			}
		default:
			return false
		}
	}
}

// A next is what comes after a run whose recorders have left.
type next struct {
	departure *departure
	files     []restart.File
	config    *config.Config // in effect at the end
	ordered   bool           // a signal or the context has ordered the end meanwhile
}

// record is one run. It returns nil if nothing comes after it.
func (p *process) record(ctx context.Context, cfg *config.Config, from *heritage) (*next, error) {
	o, log, manager := p.options, p.log, p.manager
	sockets := listen(&cfg.Control, p.inherited, from.control, log)
	defer sockets.close()
	r := &reloader{load: o.Load, level: p.level}
	r.current.Store(cfg)
	survivors, holder, kept := p.survivors(from.files)
	if holder != nil {
		defer holder.Close()
	}
	o.Daemon.Restart = survivors
	o.Daemon.Restart.Counts = from.announce == nil // another process has a count of its own
	if o.Confine != nil && !from.confined {
		var err error
		if from.held, err = o.Confine(cfg, o.File, sockets.path(), survivors.Directories(), log); err != nil {
			return nil, err
		}
		from.confined = true
	}
	r.held = from.held
	outer := ctx
	ctx, end := context.WithCancel(ctx)
	defer end()
	l := &leaver{options: &p.options, holder: holder, outlast: kept, managed: manager != nil, reload: r, ready: make(chan struct{}), sockets: sockets, end: end}
	if holder != nil {
		o.Daemon.Restart.Leave = &l.leave
	}
	manager.Status("Reading what earlier runs have left")
	o.Daemon.Config, o.Daemon.Log, o.Daemon.Restarts = cfg, log, manager != nil
	var late error
	o.Daemon.Ready = func() {
		p.started.Store(true)
		manager.Ready()
		kept.check()
		if late = from.said(); late != nil {
			l.leave.Store(true)
			end()
			return
		}
		close(l.ready)
	}
	d, err := daemon.New(o.Daemon)
	if err != nil {
		return nil, err
	}
	r.daemon, r.reloaded = d, kept.check
	if kept != nil {
		defer alongside(ctx, kept.run)()
	}
	defer alongside(ctx, func(ctx context.Context) { sockets.serve(ctx, backend{d, r.reload, l}) })()
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
	ordered, err := p.follow(ctx, d, reporter, &o, l.leave.Load)
	gone := l.gone.Load()
	if gone == nil {
		return nil, errors.Join(late, err)
	}
	return &next{gone, holder.Take(), r.current.Load(), ordered || outer.Err() != nil}, err
}

// again is how long after the first a second signal counts as one: timeout(1)
// and some shells send one order twice.
const again = time.Second

// follow runs the daemon under the system's signals, and prints the end unless the recorders leave. It reports whether a
// signal has ordered the end.
func (p *process) follow(ctx context.Context, d *daemon.Daemon, r *reporter, o *Options, left func() bool) (ordered bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p.listen()

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
			if ordered = !stopping.IsZero(); !left() {
				_, _ = o.Screen.Write([]byte(o.Summary(d.Status(), time.Since(started))))
			}
			return ordered, err
		case <-refresh.C:
			o.Screen.Show(o.Line(d.Status()))
		case sig := <-p.signals:
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
