// Package daemon runs the recorders of all configured interfaces and the tasks
// around them.
package daemon

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"capd/config"
	"capd/internal/live"
	"capd/internal/recorder"
	"capd/internal/setup"
	"capd/writer"
)

// Options configure a Daemon. Zero values select the defaults; Config is
// required.
type Options struct {
	Config      *config.Config
	Application string        // name and version of the program, for file headers, such as "capd 1.2.0"
	Count       uint64        // stop after this many packets; 0: never
	Duration    time.Duration // stop after this time; 0: never
	Self        []string      // command that runs finish.Main; empty: compress in this process
	Ready       func()        // called once when every interface is open or waited for; may be nil
	Log         *slog.Logger  // nil: nothing is logged
	System      System        // source of interfaces; nil: the operating system
	Restarts    bool          // somebody starts capd again when Run returns an error

	// Restart says what the process before has left, and where this one leaves
	// the same for the next. Zero: nothing is left.
	Restart Restart

	// Unwatched means that directories are listed from time to time, as on systems where they can't be
	// watched. Tests need it in a synctest bubble, whose clock stops during a read of a watch.
	Unwatched bool

	inherited *inheritance
}

// A Daemon records the configured interfaces.
type Daemon struct {
	opt     Options
	log     *slog.Logger
	start   time.Time
	config  atomic.Pointer[config.Config] // the configuration in effect
	dirs    *directories
	set     *set
	manager *manager // starts and ends the recorders in set
	tasks   tasks
	stop    stop
	rates   sampler
	kept    contents
}

// New checks that the configuration can be recorded: the directories are
// writable and not in use, the interfaces exist or may be waited for, and the
// existing ones can be opened. Nothing is recorded before Run.
func New(opt Options) (*Daemon, error) {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.System == nil {
		opt.System = underneath{}
	}
	if len(opt.Config.Interfaces) == 0 {
		return nil, setup.ErrNoInterfaces
	}
	d := &Daemon{opt: opt, log: opt.Log, start: time.Now(), set: newSet(), tasks: tasks{log: opt.Log}}
	d.config.Store(opt.Config)
	d.stop = stop{abort: make(chan struct{}), again: make(chan error, 1), timeout: func() time.Duration { return time.Duration(d.config.Load().StopTimeout) }}
	there := &interfaces{system: opt.System, news: new(recorder.Links), log: opt.Log}
	if err := there.look(opt.Config); err != nil {
		return nil, err
	}
	d.opt.inherited = inherit(&d.opt.Restart)
	if err := missing(opt.Config, there.there(), d.opt.inherited.names()...); err != nil {
		return nil, err
	}
	if err := checkFilters(opt.Config); err != nil {
		return nil, err
	}
	var err error
	if d.dirs, err = openDirectories(opt.Config, &d.opt, d.log); err != nil {
		return nil, err
	}
	total := memory()
	d.manager = &manager{
		log: d.log, config: &d.config, interfaces: there, dirs: d.dirs, set: d.set, tasks: &d.tasks, stop: &d.stop,
		rates: &d.rates, memory: total, rows: live.NewMemory(rowsLimit(total)), digester: writer.NewDigester(), restarts: opt.Restarts, start: d.start,
		outliving: outliving{opt.Restart.Keeper, d.opt.inherited},
		shared: &recorder.Shared{
			Links: there.news, Claims: recorder.NewClaims(), Quota: recorder.NewQuota(opt.Count), Ask: there.ask,
			Leave: opt.Restart.Leave, Application: opt.Application, OS: system(), Boot: d.dirs.run.Boot,
		},
	}
	if opt.Restart.Counts {
		d.manager.shared.Quota.Use(d.opt.inherited.recorded())
	}
	if err := d.manager.prepare(); err != nil {
		d.dirs.close(context.Background())
		return nil, err
	}
	d.dirs.replaced = reopen(d.manager)
	d.dirs.began(opt.Config)
	return d, nil
}

// system names the operating system, with its release if that is cheap to find.
func system() string {
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return strings.TrimSpace(runtime.GOOS + " " + string(release))
}

// Run records until the context ends, or the count or the duration is reached.
// Then it finishes all files within the configured stop timeout. Files that are
// not finished by then stay partial, and Run returns an error. If the recorders
// leave their rings to another process, hooks end first: nobody reads a ring
// between the recorders' end and the next process.
func (d *Daemon) Run(ctx context.Context) error {
	defer func() {
		stop, cancel := d.stop.deadline()
		defer cancel()
		d.dirs.close(stop)
	}()
	if d.opt.Duration > 0 {
		limited, cancel := context.WithTimeout(ctx, d.opt.Duration)
		defer cancel()
		ctx = limited
	}
	keep, stopKeeping := context.WithCancel(context.WithoutCancel(ctx))
	defer stopKeeping()
	d.dirs.retain(keep)
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	d.manager.begin(life) // first: the watcher may find an interface renamed, whose recorder must be one that can end
	for _, one := range []task{&sampling{&d.rates, d.set.sample}, newWatcher(d.manager)} {
		d.tasks.start(life, one)
	}
	d.tasks.ready(ctx)
	d.manager.catchUp()
	if d.opt.Ready != nil {
		d.opt.Ready()
	}
	var again error
	goesOn := false // in another process, for all that is known
	select {
	case <-ctx.Done():
		goesOn = errors.Is(ctx.Err(), context.Canceled)
	case <-d.manager.shared.Quota.Reached():
	case <-d.stop.abort:
	case err := <-d.stop.again:
		d.log.Error("ending, to be started again", "error", err)
		again, goesOn = err, true
	}
	if goesOn {
		d.manager.rest()
	}
	end()
	d.manager.settled()
	return errors.Join(again, d.tasks.wait())
}

// Rotate ends all current files. The next packet begins a new file.
func (d *Daemon) Rotate() { _, _ = d.set.rotate("") }

// Abort makes Run return at once, even if the disk hangs. Files stay partial.
func (d *Daemon) Abort() { d.stop.now() }

// Stuck returns an error if a recorder makes no progress; see
// recorder.Progress. It may be called between Options.Ready and the end of
// Run's context.
func (d *Daemon) Stuck(turn, call time.Duration) error {
	for _, m := range d.set.members() {
		if err := m.Progress().Stuck(turn, call); err != nil {
			return err
		}
	}
	return nil
}

// A stop limits how long a shutdown may take.
type stop struct {
	timeout func() time.Duration // of the configuration in effect
	abort   chan struct{}        // closed by Abort
	once    sync.Once
	again   chan error // why Run is to end with an error; see restart
}

// restart makes Run end in order and return the error.
func (s *stop) restart(why error) {
	select {
	case s.again <- why:
	default:
	}
}

func (s *stop) now() { s.once.Do(func() { close(s.abort) }) }

// deadline returns a context that ends after the stop timeout, or at once after
// an abort.
func (s *stop) deadline() (context.Context, context.CancelFunc) {
	late, cancel := context.WithTimeout(context.Background(), s.timeout())
	go func() {
		select {
		case <-s.abort:
			cancel()
		case <-late.Done():
		}
	}()
	return late, cancel
}

// enforce calls giveUp when the stop timeout has passed since the end of the
// context, or after an abort. Calling done cancels that.
func (s *stop) enforce(ctx context.Context, giveUp func()) (done func()) {
	over := make(chan struct{})
	go func() {
		select {
		case <-ctx.Done():
		case <-s.abort:
		case <-over:
			return
		}
		late, cancel := s.deadline()
		defer cancel()
		select {
		case <-late.Done():
			giveUp()
		case <-over:
		}
	}()
	return func() { close(over) }
}
