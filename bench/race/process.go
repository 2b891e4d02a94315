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

// start runs the command on the CPU. The calling thread must be locked to its goroutine; it
// returns, like all other threads, to the CPU home.
func start(args []string, dir string, cpu, home int) (*process, error) {
	p := &process{cmd: exec.Command(args[0], args[1:]...), ended: make(chan error, 1)}
	p.cmd.Dir = dir
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	// The recorder gets its own process group: interrupts from the terminal are passed on by this
	// program.
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

// Timeouts for a recorder.
const (
	startTimeout = 5 * time.Minute
	drainTimeout = 5 * time.Minute // writing out a page cache full of dirty pages to a slow disk
	stopTimeout  = 2 * time.Minute
	poll         = 20 * time.Millisecond
	// idle is how long a recorder must be inactive to count as ready, or as done. libpcap's ring
	// hands over a partial block after tcpdump's timeout of 1 s.
	idle = 1500 * time.Millisecond
)

// awaitReady returns when the process has a packet socket that receives on the interface and is
// waiting for frames.
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

// hasSocket searches for the interface in /proc/net/packet, whose columns are: sk RefCnt Type Proto
// Iface R Rmem User Inode; R is 1 for a receiving socket.
func hasSocket(text string, ifindex int) bool {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 9 && f[4] == strconv.Itoa(ifindex) && f[5] == "1" {
			return true
		}
	}
	return false
}

// awaitIdle returns when the process has, for a while, written nothing, not waited for a disk, and
// used less than 2 % of a CPU.
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

// rest waits while the process is idle.
func (p *process) rest(ctx context.Context, d time.Duration) error {
	end := time.Now().Add(d)
	return p.await(ctx, d+time.Minute, func() (bool, error) { return !time.Now().Before(end), nil })
}

// await polls the condition until it holds, the process or ctx ends, or the timeout is over.
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

// cpu returns the processor time of all threads of the process so far.
func (p *process) cpu() time.Duration {
	const scheduler = 2 // CPUCLOCK_SCHED of clock_getcpuclockid(3)
	var t unix.Timespec
	if unix.ClockGettime(int32(^p.cmd.Process.Pid)<<3|scheduler, &t) != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

// written returns, as text, the process's counts of bytes written by system calls, and by aio and
// other means.
func (p *process) written() string {
	return p.field("io", "wchar:") + "," + p.field("io", "write_bytes:")
}

// peak returns the largest resident size in bytes. It reads the count in /proc/PID/status, because
// that of wait4 includes this process's memory before exec.
func (p *process) peak() int64 {
	kib, _ := strconv.ParseInt(strings.TrimSuffix(p.field("status", "VmHWM:"), " kB"), 10, 64)
	return kib << 10
}

// resident returns the present resident size in bytes.
func (p *process) resident() int64 {
	kib, _ := strconv.ParseInt(strings.TrimSuffix(p.field("status", "VmRSS:"), " kB"), 10, 64)
	return kib << 10
}

// rings returns how many bytes of the process's memory are rings of sockets.
func (p *process) rings() int64 {
	text, _ := os.ReadFile(p.proc("smaps"))
	return ringsIn(string(text))
}

// ringsIn sums up the resident sizes of sockets in /proc/PID/smaps (proc(5)): a line for the mapping,
// which ends with its name, and lines of its properties.
func ringsIn(text string) (bytes int64) {
	socket := false
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		switch {
		case len(f) >= 5 && strings.Contains(f[0], "-"):
			socket = len(f) > 5 && strings.HasPrefix(f[5], "socket:")
		case socket && len(f) == 3 && f[0] == "Rss:":
			kib, _ := strconv.ParseInt(f[1], 10, 64)
			bytes += kib << 10
		}
	}
	return bytes
}

func (p *process) proc(name string) string {
	return filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid), name)
}

func (p *process) field(file, key string) string {
	text, _ := os.ReadFile(p.proc(file)) // empty if the process has ended
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, key); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// inDisk reports whether a thread is waiting for a disk (state D of proc(5)).
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

// stop ends the process with the signal, calls last, whose context ends with the process, waits and
// returns all processor time that the process used.
func (p *process) stop(ctx context.Context, sig os.Signal, last func(context.Context)) (time.Duration, error) {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return 0, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, stopTimeout, fmt.Errorf("did not end within %v of the signal", stopTimeout))
	done := make(chan struct{})
	go func() {
		last(ctx)
		close(done)
	}()
	defer func() {
		cancel()
		<-done
	}()
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

// kill kills the process if it still runs, and waits for it.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // fails if the process has ended
	p.ended <- <-p.ended
}

// tail returns the end of the process's output. The process must have ended.
func (p *process) tail() string {
	text := strings.TrimSpace(p.output.String())
	return text[max(0, len(text)-400):]
}

// busy returns how long a CPU has been busy, by /proc/stat.
func busy(cpu int) time.Duration {
	text, _ := os.ReadFile("/proc/stat")
	return busyIn(string(text), cpu)
}

// busyIn sums up a line of /proc/stat, which is: cpuN user nice system idle iowait irq softirq
// steal ..., in hundredths of a second.
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
