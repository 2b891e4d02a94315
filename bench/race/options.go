//go:build linux

package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"runtime"
	"strconv"
	"strings"

	"capd/bench/inject"
)

// options are the options of the command line.
type options struct {
	loads     []load
	recorders []string
	seconds   float64
	repeat    int
	dir       string
	json      string
	capd      string
	injectCPU int
	recordCPU int
	idle      float64 // seconds
	silence   float64
	steady    float64 // minutes
	skim      bool
	leaves    string // what a short race leaves out
}

// A preset has values for options that the command line does not set.
type preset map[string]string

// The presets of -short and -long.
var (
	short = preset{"sizes": "1514@3.6,64@1Mpps", "seconds": "2", "repeat": "3"}
	long  = preset{
		"sizes":     "1514@3.6,1514@3.6/1,512@2,64@1Mpps,imix@2Mpps,1514@limit,64@limit",
		"recorders": "capd,capd-pcap,capd-fanout4,tcpdump,dumpcap,netsniff-ng,daemonlogger,stenotype",
		"seconds":   "5", "repeat": "5",
	}
)

// leftOut says what a short race does not measure.
const leftOut = `The short race leaves out: mixed and middle sizes, rotation, the highest rate without loss, capd's other
variants (capd-pcap, capd-fanout4), and heats that are longer than the page cache hides a slow disk (-seconds 20).
-long has all of these but the last.`

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	var names, sizes, rates string
	var rotate int64
	var findLimit, isShort, isLong bool
	f := flag.NewFlagSet("race", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.BoolVar(&isShort, "short", false, "a race of about five minutes; other options change it")
	f.BoolVar(&isLong, "long", false, "a race of hours, with rotation, highest rates and variants of capd; other options change it")
	f.StringVar(&names, "recorders", "capd,tcpdump,dumpcap,netsniff-ng,daemonlogger,stenotype", "the recorders to compare, also capd-pcap, capd-fanout4, capd-kept and capd-polled; NAME=PATH is another build of one, such as capd=/tmp/capd-before")
	f.StringVar(&sizes, "sizes", "64,512,1514,imix", "frame sizes in bytes, or imix; SIZE@RATE has a rate of its own, and SIZE@RATE/MIB a rotate size")
	f.StringVar(&rates, "rates", "1,3.6", "offered rates in Gbit/s of frames, in packets with the suffix Mpps, max, or limit: the highest without loss")
	f.Float64Var(&o.seconds, "seconds", 5, "time of injection of one heat")
	f.IntVar(&o.repeat, "repeat", 1, "heats of each recorder under each load")
	f.StringVar(&o.dir, "dir", ".", "folder on the disk to write to")
	f.StringVar(&o.json, "json", "", "file for all figures as JSON")
	f.StringVar(&o.capd, "capd", "", "capd's binary (built from ./cmd/capd by default)")
	f.Int64Var(&rotate, "rotate-size", 0, "MiB after which all recorders start a new file; 0: never")
	f.IntVar(&o.injectCPU, "inject-cpu", 0, "CPU of injection and of all but the recorder")
	f.IntVar(&o.recordCPU, "record-cpu", runtime.NumCPU()-1, "CPU of the recorder")
	f.Float64Var(&o.idle, "idle", 0, "seconds that a recorder waits idle before its memory is read and the heat begins")
	f.BoolVar(&findLimit, "find-limit", false, "the same as -rates limit, for all sizes")
	f.Float64Var(&o.silence, "bursts", 0, "alternate 1 s at full speed and these seconds of silence; ignores -rates; -rotate-size allows files to be removed")
	f.BoolVar(&o.skim, "skim", false, "read only the ends of files where their numbers say that no frame between is missing")
	f.Float64Var(&o.steady, "steady", 0, "minutes of one long heat with a reading a minute; -rotate-size allows files to be removed")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if isShort && isLong {
		return o, errors.New("-short and -long are two races")
	}
	if isShort {
		short.apply(f)
		o.leaves = leftOut
	}
	if isLong {
		long.apply(f)
	}
	if f.NArg() > 0 || o.seconds <= 0 || o.repeat < 1 || rotate < 0 || o.idle < 0 {
		return o, errors.New("unexpected arguments: see -help")
	}
	if o.recorders = strings.Split(names, ","); o.steady > 0 {
		o.seconds = o.steady * 60
	}
	if o.silence > 0 {
		rates = "max"
	}
	if findLimit {
		rates = "limit"
	}
	var err error
	o.loads, err = parseLoads(sizes, rates, cmp.Or(rotate<<20, noRotate))
	return o, err
}

// apply sets the options that the command line did not set.
func (p preset) apply(f *flag.FlagSet) {
	given := make(map[string]bool)
	f.Visit(func(g *flag.Flag) { given[g.Name] = true })
	for name, value := range p {
		if !given[name] {
			_ = f.Set(name, value) // the values are valid
		}
	}
}

// parseLoads combines the sizes with the rates. Rotate is the rotate size of those that have none
// of their own.
func parseLoads(sizes, rates string, rotate int64) ([]load, error) {
	var loads []load
	for text := range strings.SplitSeq(sizes, ",") {
		l := load{Rotate: rotate, Sizes: inject.IMIX()}
		text, mib, has := strings.Cut(text, "/")
		if has {
			n, err := strconv.ParseInt(mib, 10, 32)
			if err != nil || n < 1 {
				return nil, fmt.Errorf("rotate size %q is not a number of MiB", mib)
			}
			l.Rotate = n << 20
		}
		var own string
		l.Name, own, has = strings.Cut(text, "@")
		if !has {
			own = rates
		}
		if l.Name != "imix" {
			n, err := strconv.Atoi(l.Name)
			if err != nil || n < inject.MinSize || n > inject.MaxSize {
				return nil, fmt.Errorf("frame size %q is not imix or %d to %d", l.Name, inject.MinSize, inject.MaxSize)
			}
			l.Sizes = []int{n}
		}
		for rate := range strings.SplitSeq(own, ",") {
			var err error
			if l.PPS, err = parseRate(rate, l.mean()); err != nil {
				return nil, err
			}
			l.Limit = rate == "limit"
			loads = append(loads, l)
		}
	}
	return loads, nil
}

// parseRate returns packets per second, 0 for full speed, at which the search for a limit begins.
func parseRate(text string, mean float64) (float64, error) {
	if text == "max" || text == "limit" {
		return 0, nil
	}
	number, mpps := strings.CutSuffix(text, "Mpps")
	v, err := strconv.ParseFloat(number, 64)
	if err != nil || !(v > 0 && v < 1e6) {
		return 0, fmt.Errorf("rate %q is not Gbit/s, Mpps, max or limit", text)
	}
	if mpps {
		return v * 1e6, nil
	}
	return v * 1e9 / 8 / mean, nil
}
