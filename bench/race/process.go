//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A process is a running recorder.
type process struct {
	cmd    *exec.Cmd
	output bytes.Buffer
	ended  chan error
}

// start runs the command on the CPU. The caller's thread is locked, and with
// all others comes back to the CPU home.
func start(args []string, dir string, cpu, home int) (*process, error) {
	p := &process{cmd: exec.Command(args[0], args[1:]...), ended: make(chan error, 1)}
	p.cmd.Dir = dir
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	// A group of its own: an interrupt from the terminal is ours to pass on.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := pin(0, cpu); err != nil {
		return nil, err
	}
	err := p.cmd.Start()
	if err := errors.Join(err, pinAll(home)); err != nil {
		return nil, err
	}
	go func() { p.ended <- p.cmd.Wait() }()
	return p, nil
}

// Patience with a recorder.
const (
	startTimeout = 5 * time.Minute // capd touches its memory by and by
	drainTimeout = 5 * time.Minute // a page cache full of dirty pages on a slow disk
	stopTimeout  = 2 * time.Minute
	poll         = 20 * time.Millisecond
	// idle is how long a recorder must do nothing to be called ready, or done. capd
	// begins to touch its memory a second after the start; libpcap's ring hands
	// over a block that is not full after tcpdump's time-out of 1 s.
	idle = 1500 * time.Millisecond
)

// awaitReady returns when the process has a packet socket that receives on the
// interface and has gone to sleep on it.
func (p *process) awaitReady(ctx context.Context, ifindex int) error {
	err := p.await(ctx, startTimeout, func() (bool, error) { return attached(ifindex) })
	if err != nil {
		return fmt.Errorf("await packet socket: %w", err)
	}
	if err := p.awaitIdle(ctx, startTimeout); err != nil {
		return fmt.Errorf("await readiness: %w", err)
	}
	return nil
}

// attached reports whether a packet socket receives on the interface.
func attached(ifindex int) (bool, error) {
	text, err := os.ReadFile("/proc/net/packet")
	if err != nil {
		return false, err
	}
	return hasSocket(string(text), ifindex), nil
}

// hasSocket looks for the interface in /proc/net/packet, whose columns are:
// sk RefCnt Type Proto Iface R Rmem User Inode; R is 1 when it receives.
func hasSocket(text string, ifindex int) bool {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 9 && f[4] == strconv.Itoa(ifindex) && f[5] == "1" {
			return true
		}
	}
	return false
}

// awaitIdle returns when the process has written nothing, waited for no disk
// and used under 2 % of a CPU for a while.
func (p *process) awaitIdle(ctx context.Context, timeout time.Duration) error {
	var since time.Time
	var cpu time.Duration
	var written string
	return p.await(ctx, timeout, func() (bool, error) {
		now, c, w := time.Now(), p.cpu(), p.written()
		busy := w != written || p.inDisk() || c-cpu > now.Sub(since)/50+time.Millisecond
		if busy || since.IsZero() {
			since, cpu, written = now, c, w
		}
		return now.Sub(since) >= idle, nil
	})
}

// await polls the condition until it holds, the process or ctx ends, or time
// is up.
func (p *process) await(ctx context.Context, timeout time.Duration, ok func() (bool, error)) error {
	deadline := time.After(timeout)
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		if done, err := ok(); done || err != nil {
			return err
		}
		select {
		case err := <-p.ended:
			p.ended <- err
			return fmt.Errorf("ended early (%v): %s", err, p.tail()) //nolint:errorlint // nil where it ended well
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline:
			return fmt.Errorf("not within %v", timeout)
		case <-tick.C:
		}
	}
}

// cpu returns what the process has used so far, all its threads together.
func (p *process) cpu() time.Duration {
	const scheduler = 2 // CPUCLOCK_SCHED of clock_getcpuclockid(3)
	var t unix.Timespec
	if unix.ClockGettime(int32(^p.cmd.Process.Pid)<<3|scheduler, &t) != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

// written is the process's count of bytes written by calls, and that by aio and
// others, as text.
func (p *process) written() string {
	return p.field("io", "wchar:") + "," + p.field("io", "write_bytes:")
}

// peak returns the most bytes that were resident. Its address space has a
// count of its own in status: that of wait4 begins with ours, from before exec.
func (p *process) peak() int64 {
	kib, _ := strconv.ParseInt(strings.TrimSuffix(p.field("status", "VmHWM:"), " kB"), 10, 64)
	return kib << 10
}

// resident returns the bytes that are resident now.
func (p *process) resident() int64 {
	kib, _ := strconv.ParseInt(strings.TrimSuffix(p.field("status", "VmRSS:"), " kB"), 10, 64)
	return kib << 10
}

func (p *process) proc(name string) string {
	return filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid), name)
}

func (p *process) field(file, key string) string {
	text, _ := os.ReadFile(p.proc(file)) // nothing, when it has ended
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, key); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// inDisk reports whether a thread waits for a disk (state D of proc(5)).
func (p *process) inDisk() bool {
	stats, _ := filepath.Glob(p.proc("task/*/stat"))
	for _, path := range stats {
		text, _ := os.ReadFile(path)
		if i := bytes.LastIndexByte(text, ')'); i >= 0 && bytes.HasPrefix(text[i:], []byte(") D")) {
			return true
		}
	}
	return false
}

// stop ends the process by the signal, awaits it and returns all the CPU time
// that it used.
func (p *process) stop(ctx context.Context, sig os.Signal) (time.Duration, error) {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return 0, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, stopTimeout, fmt.Errorf("did not end within %v of the signal", stopTimeout))
	defer cancel()
	select {
	case err := <-p.ended:
		p.ended <- err
		state := p.cmd.ProcessState
		if err != nil && sig != os.Kill {
			return state.UserTime() + state.SystemTime(), fmt.Errorf("%w: %s", err, p.tail())
		}
		return state.UserTime() + state.SystemTime(), nil
	case <-ctx.Done():
		p.kill()
		return 0, context.Cause(ctx)
	}
}

// kill ends the process at once, when it has not ended, and awaits that.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // fails when it has ended
	p.ended <- <-p.ended
}

// tail is the end of what the process printed. The process has ended.
func (p *process) tail() string {
	text := strings.TrimSpace(p.output.String())
	return text[max(0, len(text)-400):]
}

// busy returns how long a CPU has run anything at all, by /proc/stat.
func busy(cpu int) time.Duration {
	text, _ := os.ReadFile("/proc/stat")
	return busyIn(string(text), cpu)
}

// busyIn sums a line of /proc/stat, which is: cpuN user nice system idle iowait
// irq softirq steal ..., in hundredths of a second.
func busyIn(text string, cpu int) time.Duration {
	const idle, iowait, steal = 4, 5, 8
	var ticks int64
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) <= steal || f[0] != "cpu"+strconv.Itoa(cpu) {
			continue
		}
		for i := 1; i <= steal; i++ {
			if n, _ := strconv.ParseInt(f[i], 10, 64); i != idle && i != iowait {
				ticks += n
			}
		}
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
