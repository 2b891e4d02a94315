package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"capd/config"
	"capd/internal/daemon"
	"capd/internal/finish"
	"capd/internal/notify"

	"github.com/spf13/cobra"
)

func newRun(confine confiner) *cobra.Command {
	var s settings
	var count uint64
	var duration config.Duration
	cmd := &cobra.Command{
		Use:   "run [-c FILE] [-i NAME]... [-d DIR] [EXPRESSION]",
		Short: "Record until told to stop",
		Long: `Record the interfaces into rotated files until SIGINT or SIGTERM; then finish
the files and print what was received, written and lost. A second signal leaves
at once, with files left as NAME.partial. SIGUSR1 begins new files now. SIGHUP
reads the configuration file again; without one (-i) it ends the run.

The EXPRESSION is a filter in the language of pcap-filter(7), as tcpdump takes
it: only frames for which it holds are recorded.`,
		Example: `  capd run -i eth0 -d .                            # until Ctrl-C
  capd run -i 'eth*' -d /data --rotate-size 100MiB --rotate-interval 10m
  capd run -i eth0 -d . not port 22
  capd run -i any -d /tmp/x --count 1000 --duration 30s`,
		RunE: func(cmd *cobra.Command, args []string) error {
			s.filter = strings.Join(args, " ")
			cfg, err := s.load(cmd)
			if err != nil {
				return err
			}
			if duration < 0 {
				return usageError{fmt.Errorf("invalid argument %q for \"--duration\" flag: must not be negative", duration)}
			}
			// A reader of our messages that goes away must not end the recording.
			signal.Ignore(syscall.SIGPIPE)
			screen := newScreen(cmd.ErrOrStderr())
			log, level := newLogger(cfg.Log, screen)
			manager, err := notify.Open()
			if err != nil {
				log.Warn("nobody is told when capd is ready", "error", err)
			}
			ears, err := listen(&cfg.Control, log)
			if err != nil {
				return err
			}
			defer ears.close()
			r := &reloader{load: func() (*config.Config, error) { return s.load(cmd) }, level: level}
			relaxTimers()
			if confine != nil {
				if r.held, err = confine(cfg, s.file, ears.path(), log); err != nil {
					return err
				}
			}
			manager.Status("Reading what earlier runs have left")
			d, err := daemon.New(daemon.Options{
				Config: cfg, Application: "capd " + version(), Count: count, Duration: time.Duration(duration), Log: log,
				Self: self(), Ready: manager.Ready,
			})
			if err != nil {
				return err
			}
			r.daemon = d
			// Twice, as hooks may take as long again, and some for the disk's last word.
			stop := 2*time.Duration(cfg.StopTimeout) + 5*time.Second
			defer alongside(cmd.Context(), func(ctx context.Context) { ears.serve(ctx, backend{d, r.reload}) })()
			if len(s.interfaces) == 0 { // there is a file to read again
				defer onHangup(cmd.Context(), func(ctx context.Context) {
					if err := manager.Reload(func() error { return r.reload(ctx) }); err != nil {
						why := strings.ReplaceAll(err.Error(), "\n", "; ")
						log.Error("the configuration can't be used: nothing has changed", "error", why)
					}
				})()
			}
			return record(cmd.Context(), d, &service{manager: manager, daemon: d, log: log, stop: stop}, screen, len(s.interfaces) > 0)
		},
	}
	s.bind(cmd)
	cmd.Flags().Uint64Var(&count, "count", 0, "stop after `N` frames; 0: never")
	cmd.Flags().Var(&duration, "duration", "stop after `TIME`, as 90s or 7d; 0: never")
	return cmd
}

// again is how long after the first a second signal counts as one: timeout(1)
// and some shells send one order twice.
const again = time.Second

// record runs the daemon under the system's signals, and prints the end.
func record(ctx context.Context, d *daemon.Daemon, s *service, screen *screen, hangup bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	end := []os.Signal{syscall.SIGINT, syscall.SIGTERM}
	if hangup && !signal.Ignored(syscall.SIGHUP) { // as under nohup
		end = append(end, syscall.SIGHUP)
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, append(end, syscall.SIGUSR1)...)
	defer signal.Stop(signals)

	ended, over, attended := make(chan error, 1), make(chan struct{}), make(chan struct{})
	go func() {
		err := d.Run(ctx)
		close(over)
		ended <- err
	}()
	go func() {
		defer close(attended)
		s.attend(ctx.Done(), over)
	}()
	refresh := screen.refresh()
	defer refresh.Stop()
	started := time.Now()
	var stopping time.Time
	for {
		select {
		case err := <-ended:
			<-attended
			screen.clear()
			screen.summary(d.Status(), time.Since(started))
			return err
		case <-refresh.C:
			screen.show(living(d.Status()))
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

// alongside starts to serve, and returns what ends it.
func alongside(ctx context.Context, serve func(context.Context)) (end func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var serving sync.WaitGroup
	serving.Go(func() { serve(ctx) })
	return func() {
		cancel()
		serving.Wait()
	}
}

// compressVerb is the hidden command that compresses one file, in a process of
// its own.
const compressVerb = "compress-one"

// self returns the command that runs compressVerb; none where the program can't
// be found.
func self() []string {
	path, err := os.Executable()
	if err != nil {
		return nil
	}
	return []string{path, compressVerb}
}

func newCompress() *cobra.Command {
	return &cobra.Command{
		Use:    compressVerb,
		Hidden: true,
		Args:   noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return finish.Main(cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
}
