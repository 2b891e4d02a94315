//go:build linux

package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"capd/bench/inject"
)

// A load is the traffic that a heat injects.
type load struct {
	Name   string  // of its frame sizes: "1514", "imix"
	Sizes  []int   // in bytes, used in turn
	PPS    float64 // packets per second; 0: full speed
	Limit  bool    // find the highest rate without loss
	Rotate int64   // bytes after which recorders start a new file; noRotate: never
}

// mean returns the mean size of a frame in bytes.
func (l load) mean() float64 {
	sum := 0
	for _, size := range l.Sizes {
		sum += size
	}
	return float64(sum) / float64(len(l.Sizes))
}

// A Heat is one run of a recorder under one load, and its results.
type Heat struct {
	Recorder   string
	Load       string  // frame sizes
	Wanted     float64 // packets per second; 0: full speed
	Limit      bool    // this is the highest rate found without loss
	Rotate     int64   // bytes after which the recorder starts a new file; 0: never
	Seconds    float64 // duration of the injection
	Offered    uint64  // frames injected
	OfferedPPS float64
	Gbits      float64 // Gbit/s offered, counting frames without preamble and check sequence
	Recorded   uint64  // distinct frames in the files
	Lost       uint64
	Doubled    uint64
	Reordered  uint64
	Cut        uint64
	Foreign    uint64
	Torn       int
	CPU        float64  // seconds of user and system time, from readiness to the end
	CPUStart   float64  // seconds of processor time before readiness
	CPUWhole   float64  // seconds of processor time from the start of the program to its end
	Others     float64  // share of the recorder's CPU used by others during injection, including kernel threads
	NsPerFrame float64  // processor time per recorded frame, from readiness to the end
	NsWhole    float64  // processor time per recorded frame, from the start of the program to its end
	Ring       int64    // bytes resident of the rings, which the kernel fills
	Idle       int64    // bytes resident at readiness, without the rings
	Peak       int64    // most bytes resident, without the rings
	Bytes      int64    // in all files
	Allocated  int64    // bytes on disk for the files, at the end
	Files      int      // with frames
	Error      string   `json:",omitempty"` // set if the recorder did not end properly
	Minutes    []Minute `json:",omitempty"` // for a long run
}

// A Minute is one reading during a long run.
type Minute struct {
	Elapsed  float64 // seconds
	Offered  uint64  // frames so far
	CPU      float64 // seconds so far
	Resident int64   // bytes now
}

// A track is the environment in which heats are run.
type track struct {
	dir       string
	ifindex   int
	injectCPU int
	recordCPU int
	seconds   float64
	idle      float64 // seconds between readiness and injection
	silence   float64 // seconds between bursts; 0: no bursts
	steady    bool
	skim      bool // count files by their ends
	log       func(format string, args ...any)
}

func newHeat(r recorder, l load) Heat {
	h := Heat{Recorder: r.Name, Load: l.Name, Wanted: l.PPS, Limit: l.Limit}
	if l.rotates() {
		h.Rotate = l.Rotate
	}
	return h
}

func (l load) rotates() bool { return l.Rotate < noRotate }

// heat runs the recorder under the load. Failures of the recorder are recorded in the Heat; an
// error means that the race itself failed.
func (t *track) heat(ctx context.Context, r recorder, l load) (h Heat, err error) {
	h = newHeat(r, l)
	if err := needRoom(t.dir, t.room(l)); err != nil {
		return h, err
	}
	dir, err := os.MkdirTemp(t.dir, "race-")
	if err != nil {
		return h, err
	}
	defer func() { err = errors.Join(err, empty(dir)) }()
	in, err := inject.New(t.ifindex, l.Sizes)
	if err != nil {
		return h, err
	}
	defer in.Close()
	if err := flush(t.dir); err != nil {
		return h, err
	}
	t.log("%s, frames of %s, %s", r.Name, l.Name, rateName(l.PPS))
	return h, t.run(ctx, &h, r, l, in, dir)
}

// empty truncates the files to free their space. They are removed only at the end of the race: ext4
// does not reuse a removed file's inode for a minute, and programs that create many files would
// spend time searching for free inodes.
func empty(dir string) error {
	paths, err := recordings(dir)
	for _, path := range paths {
		err = errors.Join(err, os.Truncate(path, 0))
	}
	return err
}

// run runs one heat: start, inject, drain, stop, count.
func (t *track) run(ctx context.Context, h *Heat, r recorder, l load, in *inject.Injector, dir string) error {
	if err := prepareDir(dir); err != nil {
		return err
	}
	p, err := start(r.command(r.path, dir, l.Rotate, t.recordCPU), dir, t.recordCPU, t.injectCPU)
	if err == nil {
		defer p.kill()
		err = errors.Join(p.awaitReady(ctx, t.ifindex), p.rest(ctx, seconds(t.idle)))
	}
	if err != nil {
		h.Error = "start: " + err.Error()
		return ctx.Err()
	}
	before := p.cpu()
	h.Ring = p.rings()
	h.Idle = p.resident() - h.Ring
	sums := tally{apart: r.rings > 1}
	if t.skim {
		sums.skim = len(l.Sizes)
	}
	beside, cancel := context.WithCancel(ctx)
	defer cancel()
	if r.beside != nil {
		go r.beside(beside, dir)
	}
	if err := t.inject(ctx, h, l, in, &course{p, &sums, dir, l.rotates()}); err != nil {
		return err
	}
	cancel()
	drained := p.awaitIdle(ctx, drainTimeout)
	h.Peak = p.peak() - h.Ring
	alone := p.cpu()
	last := func(context.Context) {}
	if r.woken {
		last = func(ctx context.Context) { _, _ = in.Run(ctx, inject.Rate{PacketsPerSecond: 1e6}) }
	}
	whole, stopped := p.stop(ctx, r.end, last)
	cpu := whole
	if r.parent || r.woken {
		cpu = alone
	}
	h.CPUStart, h.CPU, h.CPUWhole = before.Seconds(), (cpu - before).Seconds(), whole.Seconds()
	if err := errors.Join(drained, stopped); err != nil {
		h.Error = err.Error()
	}
	sums.end = h.Offered // later frames only woke the recorder
	return h.count(&sums, dir)
}

// A course is the state of a long run.
type course struct {
	p       *process
	sums    *tally
	dir     string
	rotates bool
}

// inject offers the load in the selected mode: at a rate, in bursts, or for minutes.
func (t *track) inject(ctx context.Context, h *Heat, l load, in *inject.Injector, c *course) error {
	begin, busyBefore, ownBefore := time.Now(), busy(t.recordCPU), c.p.cpu()
	defer hurry()()
	var err error
	switch {
	case t.silence > 0:
		err = t.bursts(ctx, h, in, c)
	case t.steady:
		err = t.steadily(ctx, h, l, in, c)
	default:
		err = injectFor(ctx, in, l.PPS, seconds(t.seconds))
	}
	h.Seconds, h.Offered = time.Since(begin).Seconds(), in.Sent()
	others := busy(t.recordCPU) - busyBefore - (c.p.cpu() - ownBefore)
	h.Others = max(0, others.Seconds()) / h.Seconds
	h.OfferedPPS = float64(h.Offered) / h.Seconds
	h.Gbits = h.OfferedPPS * l.mean() * 8 / 1e9
	return errors.Join(err, ctx.Err())
}

// injectFor injects for the duration. At a given rate it sends a fixed number of frames, the same
// for all recorders, and gives up somewhat later if injection can't reach the rate.
func injectFor(ctx context.Context, in *inject.Injector, pps float64, d time.Duration) error {
	r := inject.Rate{PacketsPerSecond: pps}
	if pps > 0 {
		r.Count = max(1, uint64(pps*d.Seconds()))
		d += d / 10
	}
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	_, err := in.Run(ctx, r)
	return err
}

// bursts alternates one second at full speed and a time of silence.
func (t *track) bursts(ctx context.Context, h *Heat, in *inject.Injector, c *course) error {
	begin := time.Now()
	for {
		if err := injectFor(ctx, in, 0, time.Second); err != nil {
			return err
		}
		next := time.After(seconds(t.silence))
		if err := t.read(h, in, c, time.Since(begin)); err != nil {
			return err
		}
		if time.Since(begin)+seconds(t.silence) >= seconds(t.seconds) {
			return nil
		}
		select {
		case <-next:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// steadily injects second by second.
func (t *track) steadily(ctx context.Context, h *Heat, l load, in *inject.Injector, c *course) error {
	begin := time.Now()
	for time.Since(begin) < seconds(t.seconds) {
		behind := l.PPS*time.Since(begin).Seconds() - float64(in.Sent())
		if err := injectFor(ctx, in, l.PPS+max(0, behind), time.Second); err != nil {
			return err
		}
		if err := t.read(h, in, c, time.Since(begin)); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// read counts and removes rotated files, and takes a reading every minute.
func (t *track) read(h *Heat, in *inject.Injector, c *course, elapsed time.Duration) error {
	if c.rotates {
		if err := h.countRotated(c.sums, c.dir); err != nil {
			return err
		}
	}
	if elapsed >= time.Duration(len(h.Minutes)+1)*time.Minute {
		h.Minutes = append(h.Minutes, Minute{elapsed.Seconds(), in.Sent(), c.p.cpu().Seconds(), c.p.resident()})
	}
	return nil
}

// countRotated counts and removes all files except the newest two, which the recorder may still
// write to.
func (h *Heat) countRotated(sums *tally, dir string) error {
	paths, err := captures(dir)
	if err != nil {
		return err
	}
	for _, path := range paths[:max(0, len(paths)-2)] {
		if strings.HasSuffix(path, ".partial") {
			continue // capd is about to rename it
		}
		if err := h.countFile(sums, path); err != nil {
			return err
		}
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	return nil
}

// captures lists the recordings in dir that have a capture file's name.
func captures(dir string) ([]string, error) {
	paths, err := recordings(dir)
	if err != nil {
		return nil, err
	}
	kept := paths[:0]
	for _, path := range paths {
		if strings.Contains(filepath.Base(path), ".pcap") || filepath.Base(filepath.Dir(path)) == stenotypeDir {
			kept = append(kept, path)
		}
	}
	return kept, nil
}

// count sets the results that come from the files.
func (h *Heat) count(sums *tally, dir string) error {
	paths, err := recordings(dir)
	if err != nil {
		return err
	}
	for _, path := range paths {
		if err := h.countFile(sums, path); err != nil {
			return err
		}
	}
	h.Recorded, h.Lost = sums.Distinct, sums.lost(h.Offered)
	h.Doubled, h.Reordered, h.Cut, h.Foreign, h.Torn = sums.Doubled, sums.Reordered, sums.Cut, sums.Foreign, sums.Torn
	if h.Recorded > 0 {
		h.NsPerFrame = h.CPU * 1e9 / float64(h.Recorded)
		h.NsWhole = h.CPUWhole * 1e9 / float64(h.Recorded)
	}
	return nil
}

func (h *Heat) countFile(sums *tally, path string) error {
	size, allocated, err := extent(path)
	if err != nil {
		return err
	}
	h.Bytes += size
	h.Allocated += allocated
	unread := sums.Unread
	if err := sums.countFile(path); err != nil {
		return err
	}
	if sums.Unread == unread {
		h.Files++
	}
	return nil
}

// room returns how many bytes a heat may write to the disk, with a margin. At full speed it assumes
// the highest injection rates ever seen, in Gbit/s and Mpps.
func (t *track) room(l load) int64 {
	const recordHeader, mostGbits, mostPPS, margin = 32, 40, 6e6, 1.2
	pps := l.PPS
	if pps == 0 {
		pps = min(mostPPS, mostGbits*1e9/8/l.mean())
	}
	active := t.seconds
	switch rotated := l.rotates(); { // files are removed after they are rotated
	case rotated && t.steady:
		active = min(active, 30)
	case rotated && t.silence > 0:
		active = min(active, 3)
	case t.silence > 0:
		active = 1 + t.seconds/(1+t.silence)
	}
	return int64(pps * (l.mean() + recordHeader) * active * margin)
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
