//go:build linux

// Race compares capd with other packet recorders on this machine. It injects numbered frames into a
// veth pair in a network namespace, runs each recorder in turn on a CPU reserved for it, and counts
// the numbers in the files that it wrote. It needs root, two CPUs and a disk with O_DIRECT.
//
//	go run -C bench ./race                               # all recorders, all sizes
//	go run -C bench ./race -sizes 1514@3.6,64@1Mpps -json race.json
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
	"strconv"
	"strings"
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

// options are the options of the command line.
type options struct {
	loads      []load
	recorders  []string
	seconds    float64
	repeat     int
	dir        string
	json       string
	capd       string
	rotateSize int64
	injectCPU  int
	recordCPU  int
	findLimit  bool
	silence    float64
	steady     float64 // minutes
	skim       bool
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	var names, sizes, rates string
	var rotate int64
	f := flag.NewFlagSet("race", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&names, "recorders", "capd,tcpdump,dumpcap,netsniff-ng,daemonlogger,stenotype", "the recorders to compare; NAME=PATH is another build of one, such as capd=/tmp/capd-before")
	f.StringVar(&sizes, "sizes", "64,512,1514,imix", "frame sizes in bytes, or imix; SIZE@RATE has a rate of its own")
	f.StringVar(&rates, "rates", "1,3.6", "offered rates in Gbit/s of frames, in packets with the suffix Mpps, or max")
	f.Float64Var(&o.seconds, "seconds", 5, "time of injection of one heat")
	f.IntVar(&o.repeat, "repeat", 1, "heats of each recorder under each load")
	f.StringVar(&o.dir, "dir", ".", "folder on the disk to write to")
	f.StringVar(&o.json, "json", "", "file for all figures as JSON")
	f.StringVar(&o.capd, "capd", "", "capd's binary (built from ./cmd/capd by default)")
	f.Int64Var(&rotate, "rotate-size", 0, "MiB after which all recorders start a new file; 0: never")
	f.IntVar(&o.injectCPU, "inject-cpu", 0, "CPU of injection and of all but the recorder")
	f.IntVar(&o.recordCPU, "record-cpu", runtime.NumCPU()-1, "CPU of the recorder")
	f.BoolVar(&o.findLimit, "find-limit", false, "find each recorder's highest rate without loss; ignores -rates")
	f.Float64Var(&o.silence, "bursts", 0, "alternate 1 s at full speed and these seconds of silence; ignores -rates; -rotate-size allows files to be removed")
	f.BoolVar(&o.skim, "skim", false, "read only the ends of files where their numbers say that no frame between is missing")
	f.Float64Var(&o.steady, "steady", 0, "minutes of one long heat with a reading a minute; -rotate-size allows files to be removed")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 || o.seconds <= 0 || o.repeat < 1 || rotate < 0 {
		return o, errors.New("unexpected arguments: see -help")
	}
	if o.recorders = strings.Split(names, ","); o.steady > 0 {
		o.seconds = o.steady * 60
	}
	if o.rotateSize = rotate << 20; rotate == 0 {
		o.rotateSize = noRotate
	}
	if o.findLimit || o.silence > 0 {
		rates = "max"
	}
	var err error
	o.loads, err = parseLoads(sizes, rates)
	return o, err
}

// parseLoads combines the sizes with the rates.
func parseLoads(sizes, rates string) ([]load, error) {
	var loads []load
	for size := range strings.SplitSeq(sizes, ",") {
		name, own, has := strings.Cut(size, "@")
		l := load{Name: name, Sizes: inject.IMIX()}
		if name != "imix" {
			n, err := strconv.Atoi(name)
			if err != nil || n < inject.MinSize || n > inject.MaxSize {
				return nil, fmt.Errorf("frame size %q is not imix or %d to %d", name, inject.MinSize, inject.MaxSize)
			}
			l.Sizes = []int{n}
		}
		if !has {
			own = rates
		}
		for rate := range strings.SplitSeq(own, ",") {
			var err error
			if l.PPS, err = parseRate(rate, l.mean()); err != nil {
				return nil, err
			}
			loads = append(loads, l)
		}
	}
	return loads, nil
}

// parseRate returns packets per second, 0 for full speed.
func parseRate(text string, mean float64) (float64, error) {
	if text == "max" {
		return 0, nil
	}
	number, mpps := strings.CutSuffix(text, "Mpps")
	v, err := strconv.ParseFloat(number, 64)
	if err != nil || !(v > 0 && v < 1e6) {
		return 0, fmt.Errorf("rate %q is not Gbit/s, Mpps or max", text)
	}
	if mpps {
		return v * 1e6, nil
	}
	return v * 1e9 / 8 / mean, nil
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
	t := track{dir: dir, injectCPU: o.injectCPU, recordCPU: o.recordCPU, rotateSize: o.rotateSize,
		seconds: o.seconds, silence: o.silence, steady: o.steady > 0, skim: o.skim}
	t.log = func(format string, args ...any) { fmt.Fprintf(stderr, "race: "+format+"\n", args...) }
	if err := t.prepare(); err != nil {
		return err
	}
	report := Report{Date: time.Now().UTC().Truncate(time.Second), Machine: machine(t.dir)}
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
	return errors.Join(raced, report.save(o.json), report.print(stdout))
}

// race measures the disk before and after the heats, because its speed varies on a shared machine.
func (t *track) race(ctx context.Context, o options, here []recorder, report *Report) error {
	if err := t.disk(report); err != nil {
		return err
	}
	for _, l := range o.loads {
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
			if o.findLimit {
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
	best = Heat{Recorder: r.Name, Load: l.Name}
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
