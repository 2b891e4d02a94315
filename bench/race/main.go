//go:build linux

// Race compares capd with other packet recorders on this machine. It injects numbered frames into a
// veth pair in a network namespace, runs each recorder in turn on a CPU reserved for it, and counts
// the numbers in the files that it wrote. It needs root, two CPUs and a disk with O_DIRECT.
//
//	go run -C bench ./race -short                        # about five minutes
//	go run -C bench ./race -long -json race.json         # hours
//	go run -C bench ./race -sizes 1514@3.6,1514@3.6/1,64@1Mpps -repeat 5
//	go run -C bench ./race -find-limit -recorders capd,tcpdump
//	go run -C bench ./race -recorders capd,capd=/tmp/capd-before -repeat 5
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"capd/bench/inject"
)

func main() {
	// Recorders are killed when the thread that started them ends, so that thread must outlive
	// them. It runs on their CPU while it starts them.
	runtime.LockOSThread()
	code, err := run(os.Args[1:], os.Stdout, os.Stderr)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "race:", err)
	}
	os.Exit(code)
}

// run prepares what needs the machine's own network, and then enters the namespace for the race.
func run(args []string, stdout, stderr io.Writer) (int, error) {
	o, err := parse(args, stderr)
	if err != nil {
		return 2, err
	}
	if os.Getenv(insideNS) == "" {
		return prepare(o, args)
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := race(ctx, o, stdout, stderr); err != nil {
		return 1, err
	}
	return 0, nil
}

// prepare builds capd if its source is here, and enters the namespace.
func prepare(o options, args []string) (int, error) {
	const root = ".." // of capd's module: go run -C bench runs this program in bench
	files, _ := filepath.Glob(root + "/cmd/capd/*.go")
	if o.capd == "" && len(files) > 0 {
		dir, err := os.MkdirTemp("", "race-capd-")
		if err != nil {
			return 1, err
		}
		defer os.RemoveAll(dir)
		o.capd = filepath.Join(dir, "capd")
		if text, err := exec.Command("go", "build", "-C", root, "-o", o.capd, "./cmd/capd").CombinedOutput(); err != nil {
			return 1, fmt.Errorf("build capd: %w: %s", err, text)
		}
	}
	// Both processes would end at an interrupt from the terminal: leave it to the one inside.
	signal.Ignore(os.Interrupt)
	return enter(append(args, "-capd", o.capd))
}

// race runs the whole race, inside the namespace.
func race(ctx context.Context, o options, stdout, stderr io.Writer) (err error) {
	if runtime.NumCPU() < 2 || o.injectCPU == o.recordCPU {
		return errors.New("injection and recorder need a CPU each")
	}
	dir, err := os.MkdirTemp(o.dir, "race-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	t := track{dir: dir, injectCPU: o.injectCPU, recordCPU: o.recordCPU,
		seconds: o.seconds, idle: o.idle, silence: o.silence, steady: o.steady > 0, skim: o.skim}
	t.log = func(format string, args ...any) { fmt.Fprintf(stderr, "race: "+format+"\n", args...) }
	if err := t.prepare(); err != nil {
		return err
	}
	report := Report{Date: time.Now().UTC().Truncate(time.Second), Machine: machine(t.dir), Warnings: warnings(t.dir), leftOut: o.leaves}
	for _, w := range report.Warnings {
		t.log("warning: %s", w)
	}
	here, absent, err := find(o.recorders, o.capd)
	if err != nil {
		return err
	}
	report.entrants(here, absent)
	if len(here) == 0 {
		return errors.New("no recorder is installed")
	}
	raced := t.race(ctx, o, here, &report)
	if len(report.Heats) == 0 {
		return raced
	}
	report.Rows = report.rows()
	return errors.Join(raced, report.save(o.json), report.print(stdout))
}

// race measures the disk before and after the heats of each load, because its speed varies on a
// shared machine.
func (t *track) race(ctx context.Context, o options, here []recorder, report *Report) error {
	for _, l := range o.loads {
		if err := t.disk(report); err != nil {
			return err
		}
		if err := t.heats(ctx, o, here, l, report); err != nil {
			return err
		}
	}
	return t.disk(report)
}

// heats runs all recorders in turn under the load.
func (t *track) heats(ctx context.Context, o options, here []recorder, l load, report *Report) error {
	for range o.repeat {
		for _, r := range here {
			var h Heat
			var err error
			if l.Limit {
				h, err = t.limit(ctx, r, l)
				h.Limit = true
			} else {
				h, err = t.heat(ctx, r, l)
			}
			if err != nil {
				return err
			}
			report.Heats = append(report.Heats, h)
		}
	}
	return nil
}

// limit finds the highest rate without loss by bisection, and returns its heat.
func (t *track) limit(ctx context.Context, r recorder, l load) (Heat, error) {
	const precision = 0.05
	best, err := t.heat(ctx, r, l)
	if err != nil || best.Lost == 0 || best.Error != "" {
		return best, err
	}
	high := best.OfferedPPS
	best = newHeat(r, l)
	for low := 0.0; high-low > precision*high && high > 1000; {
		l.PPS = (low + high) / 2
		h, err := t.heat(ctx, r, l)
		if err != nil {
			return best, err
		}
		if h.Lost > 0 || h.Error != "" {
			high = l.PPS
			continue
		}
		// An injector that falls behind has only tested the rate that it offered.
		if best = h; h.OfferedPPS < l.PPS*(1-precision) {
			break
		}
		low = l.PPS
	}
	return best, nil
}

// prepare binds this process to its CPU, creates the interfaces and checks that frames can be
// injected, before anything takes time.
func (t *track) prepare() (err error) {
	if t.dir, err = filepath.Abs(t.dir); err != nil {
		return err
	}
	if err = pinAll(t.injectCPU); err != nil {
		return err
	}
	if t.ifindex, err = newPair(); err != nil {
		return err
	}
	in, err := inject.New(t.ifindex, inject.IMIX())
	if err != nil {
		return err
	}
	return in.Close()
}

func (t *track) disk(report *Report) error {
	d := min(seconds(t.seconds), 5*time.Second)
	if err := needRoom(t.dir, diskMost+diskAhead); err != nil {
		return err
	}
	limit, err := measureDisk(t.dir, d)
	if err != nil {
		return err
	}
	report.Disk = append(report.Disk, limit)
	return nil
}
