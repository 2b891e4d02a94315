package finish

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"capd/store"
)

// Environment of a hook. CAPD_END and the variables below it, except for
// CAPD_HOOK, are absent if a crash lost the facts. Of capd's own environment a
// hook gets only PATH.
const (
	envFile        = "CAPD_FILE"         // path; of the compressed file if the file is compressed
	envInterface   = "CAPD_INTERFACE"    // name
	envStart       = "CAPD_START"        // RFC 3339, UTC
	envEnd         = "CAPD_END"          // RFC 3339, UTC
	envPackets     = "CAPD_PACKETS"      // packets in the file
	envBytes       = "CAPD_BYTES"        // captured bytes of the packets
	envLost        = "CAPD_LOST"         // packets that did not reach the disk
	envKernelDrops = "CAPD_KERNEL_DROPS" // frames that the kernel dropped while the file was written
	envReason      = "CAPD_REASON"       // why the file ended: a ledger.Reason
	envClean       = "CAPD_CLEAN"        // 1, or 0 if a crash or an error ended the file
	envMark        = "CAPD_HOOK"         // random text of this run, by which capd finds processes that the hook left running
)

// defaultPath is the PATH of a hook if capd has none.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// outputLimit is how many bytes at the end of a hook's output are logged.
const outputLimit = 4096

// outputWait is how long the end of a hook's output is awaited after its
// processes were killed: a process that was not found may hold the pipe open.
const outputWait = time.Second

// A hookStep runs the hook on a file.
type hookStep struct {
	opt    *Options
	marks  *store.Marks
	kill   context.Context // done: kill the hooks that run
	settle func()          // puts the facts of added files into marks
}

func (*hookStep) name() string { return Hook }

func (h *hookStep) needs(f *store.File) bool { return !h.marks.Done(f.Name, Hook) }

func (h *hookStep) do(name string) (Outcome, error) {
	n, _ := store.ParseName(name)
	out := Outcome{Path: present(h.opt.Directory.Path(), name), ExitCode: -1}
	if out.Path == "" || h.marks.Done(n, Hook) {
		return out, errNothing
	}
	h.settle() // a scan may have found the file before its facts were recorded
	env, mark := hookEnvironment(name, out.Path, h.marks.Facts(n))
	run := hookRun{argv: h.opt.Hook, env: env, mark: mark, timeout: h.opt.HookTimeout}
	start := time.Now()
	err := run.do(h.kill)
	out.ExitCode = run.code
	level := slog.LevelDebug
	if err != nil || run.output.total > 0 {
		level = slog.LevelInfo
	}
	h.opt.Log.Log(h.kill, level, "hook ended", "file", out.Path, "exit_code", run.code, "took", time.Since(start),
		"output", run.output.String(), "output_bytes", run.output.total)
	if err != nil {
		return out, fmt.Errorf("hook %s: %w", h.opt.Hook[0], err)
	}
	if err := h.marks.SetDone(n, Hook); err != nil {
		h.opt.Log.Warn("a restart will run a hook again", "file", out.Path, "error", err)
	}
	return out, nil
}

func hookEnvironment(name, path string, f *store.Facts) (env []string, mark string) {
	add := func(key, value string) { env = append(env, key+"="+value) }
	count := func(key string, n uint64) { add(key, strconv.FormatUint(n, 10)) }
	n, _ := store.ParseName(name)
	mark = rand.Text()
	search := os.Getenv("PATH")
	if search == "" {
		search = defaultPath
	}
	add("PATH", search)
	add(envMark, mark)
	add(envFile, path)
	add(envInterface, n.Interface)
	add(envStart, n.Start.Format(time.RFC3339))
	if f == nil {
		return env, mark
	}
	add(envEnd, f.End.UTC().Format(time.RFC3339Nano))
	count(envPackets, f.Packets)
	count(envBytes, f.Bytes)
	count(envLost, f.Lost)
	count(envKernelDrops, f.KernelDrops)
	add(envReason, f.Reason)
	clean := "0"
	if f.Clean {
		clean = "1"
	}
	add(envClean, clean)
	return env, mark
}

// A hookRun is one run of a hook.
type hookRun struct {
	argv    []string
	env     []string
	mark    string // value of CAPD_HOOK in env
	timeout time.Duration

	code   int // exit code; -1 if there is none
	output tail
}

// do runs the hook and returns when it and its children have ended. A hook ends
// with its first process; processes that it leaves running are killed.
func (h *hookRun) do(kill context.Context) error {
	h.code = -1
	if kill.Err() != nil {
		return errNothing
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd := &exec.Cmd{Path: h.argv[0], Args: h.argv, Env: h.env, Dir: "/", Stdout: w, Stderr: w, SysProcAttr: separate()}
	err = cmd.Start()
	w.Close()
	if err != nil {
		return err
	}
	_ = lower(cmd.Process.Pid) // an error means that it has ended
	cause := make(chan error, 1)
	go func() {
		cause <- h.supervise(cmd, kill)
		_ = r.SetReadDeadline(time.Now().Add(outputWait))
	}()
	_, _ = io.CopyBuffer(&h.output, onlyReader{r}, make([]byte, 64<<10))
	killed := <-cause
	if cmd.ProcessState == nil {
		_ = cmd.Wait() // its error is in ProcessState
	}
	h.code = cmd.ProcessState.ExitCode()
	switch {
	case killed != nil:
		h.code = -1
		return killed
	case !cmd.ProcessState.Success():
		return errors.New(cmd.ProcessState.String())
	}
	return nil
}

// supervise returns when the hook has ended. The result says why the hook was
// killed, if it was.
func (h *hookRun) supervise(cmd *exec.Cmd, kill context.Context) (killed error) {
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		awaitExit(cmd)
	}()
	timer := time.NewTimer(h.timeout)
	defer timer.Stop()
	select {
	case <-exited:
	case <-timer.C:
		killed = fmt.Errorf("killed after %v", h.timeout)
	case <-kill.Done():
		killed = errors.New("killed at shutdown")
	}
	killGroup(cmd.Process.Pid)
	<-exited
	// A process that left the group may be starting another one right now.
	for pass := 0; killMarked(h.mark) > 0 && pass < 100; pass++ {
		time.Sleep(5 * time.Millisecond)
	}
	return killed
}

// A tail keeps the last bytes that are written to it.
type tail struct {
	kept  []byte
	total uint64 // bytes written
}

func (t *tail) Write(p []byte) (int, error) {
	t.total += uint64(len(p))
	t.kept = append(t.kept, p[max(len(p)-outputLimit, 0):]...)
	if n := len(t.kept) - outputLimit; n > 0 {
		t.kept = append(t.kept[:0], t.kept[n:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return strings.ToValidUTF8(string(t.kept), "?") }
