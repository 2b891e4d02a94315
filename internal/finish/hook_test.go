package finish

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"capd/ledger"
	"capd/pcap"
	"capd/store"
	"capd/writer"
)

func shell(script string) []string { return []string{"/bin/sh", "-c", script} }

// finished returns the writer's report of an existing file.
func finished(dir string, n store.Name) writer.File {
	return writer.File{
		Name: n, Path: filepath.Join(dir, n.String()), End: start.Add(time.Hour), Reason: ledger.ReasonInterval,
		Counts: writer.Counts{Packets: 10, Bytes: 12345, Lost: 3, KernelDrops: 4},
	}
}

// directories returns a directory for files and one for the output of hooks.
func directories(t *testing.T) (dir, out string) { return t.TempDir(), t.TempDir() }

func TestHookEnvironment(t *testing.T) {
	t.Setenv("SECRET", "password")
	t.Setenv("PATH", "/bin:/usr/bin")
	dir, out := directories(t)
	r := newRig(t, Options{
		Directory: opened(t, dir), Compression: Zstd,
		Hook: append(shell(`env > "$1/env"; pwd > "$1/pwd"; echo "$# $2" > "$1/args"; until [ $(nice) = 19 ]; do :; done; cat > "$1/stdin"`),
			"sh", out, "two words; $HOME"),
	})
	f := capture(t, dir, 1, 10, pcap.PCAP)
	r.Add(f)
	r.run()
	if o := r.outcome(); o.Step != Compress || o.Err != nil {
		t.Fatalf("outcome %+v", o)
	}
	if o := r.outcome(); o.Step != Hook || o.Err != nil || o.ExitCode != 0 || o.Name != f.Name || o.Path != f.Path+".zst" {
		t.Fatalf("outcome %+v", o)
	}
	var got []string
	for line := range strings.Lines(string(content(t, out+"/env"))) {
		key, _, _ := strings.Cut(line, "=")
		if !slices.Contains([]string{"PWD", "SHLVL", "_", "OLDPWD", envMark}, key) { // set by the shell
			got = append(got, strings.TrimSpace(line))
		}
	}
	expected := []string{
		"CAPD_BYTES=12345", "CAPD_CLEAN=1", "CAPD_END=2026-01-02T04:04:05Z", "CAPD_FILE=" + f.Path + ".zst",
		"CAPD_INTERFACE=eth0", "CAPD_KERNEL_DROPS=4", "CAPD_LOST=3", "CAPD_PACKETS=10", "CAPD_REASON=size",
		"CAPD_START=2026-01-02T03:05:05Z", "PATH=/bin:/usr/bin",
	}
	if slices.Sort(got); !slices.Equal(got, expected) {
		t.Errorf("environment %q, want %q", got, expected)
	}
	for file, expected := range map[string]string{"pwd": "/\n", "args": "2 two words; $HOME\n", "stdin": ""} {
		if got := string(content(t, filepath.Join(out, file))); got != expected {
			t.Errorf("%s: %q, want %q", file, got, expected)
		}
	}
}

// FuzzHookEnvironment: whatever the journal says of a file, the hook gets only
// capd's variables.
func FuzzHookEnvironment(f *testing.F) {
	f.Add([]byte(`{"end":"2026-01-02T03:04:05Z","packets":1,"reason":"size","clean":true}`))
	f.Add([]byte(`{"reason":"\nPATH=/tmp"}`))
	name := nameOf(1, pcap.PCAP).String()
	f.Fuzz(func(t *testing.T, b []byte) {
		var facts *store.Facts
		if json.Unmarshal(b, &facts) != nil {
			return
		}
		env, _ := hookEnvironment(name, name, facts)
		for _, v := range env {
			if !strings.HasPrefix(v, "CAPD_") && !strings.HasPrefix(v, "PATH=") {
				t.Fatalf("environment %q", v)
			}
		}
	})
}

func TestHookFails(t *testing.T) {
	for name, test := range map[string]struct {
		hook []string
		code int
		err  string
	}{
		"code":    {shell("echo oh no >&2; exit 7"), 7, "hook /bin/sh: exit status 7"},
		"signal":  {shell("kill -9 $$"), -1, "hook /bin/sh: signal: killed"},
		"missing": {[]string{"/no/such/program"}, -1, "hook /no/such/program: fork/exec /no/such/program: no such file or directory"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			r := newRig(t, Options{Directory: opened(t, dir), Hook: test.hook})
			r.Add(capture(t, dir, 1, 10, pcap.PCAP))
			r.run()
			o := r.outcome()
			if o.ExitCode != test.code || o.Err == nil || o.Err.Error() != test.err {
				t.Errorf("outcome %+v", o)
			}
			r.close()
			if !strings.Contains(r.log.String(), `msg="a step failed and will be tried again" step=hook file=`+o.Path+` in=1m0s`) {
				t.Errorf("log: %s", r.log)
			}
			if name == "code" && !strings.Contains(r.log.String(), "oh no") {
				t.Errorf("log: %s", r.log)
			}
			if s := r.Stats(); s.Failed[Hook] != 1 || s.Failing != 1 {
				t.Errorf("stats %+v", s)
			}
		})
	}
}

// alive returns the processes that still run.
func alive(pids []int) []int {
	return slices.DeleteFunc(slices.Clone(pids), func(pid int) bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err == nil {
			_, state, _ := bytes.Cut(stat, []byte(") "))
			return len(state) == 0 || state[0] == 'Z' || state[0] == 'X'
		}
		return syscall.Kill(pid, 0) != nil
	})
}

func pidsIn(t *testing.T, path string, n int) (pids []int) {
	t.Helper()
	await(t, fmt.Sprintf("%d processes run", n), func() bool {
		h, err := os.Open(path)
		if err != nil {
			return false
		}
		defer h.Close()
		pids = nil
		for in := bufio.NewScanner(h); in.Scan(); {
			pid, err := strconv.Atoi(in.Text())
			if err != nil {
				return false
			}
			pids = append(pids, pid)
		}
		return len(pids) == n
	})
	return pids
}

// hang starts children and never ends. One child runs in a session of its own,
// on systems where capd can find it.
func hang(out string) (script string, processes int) {
	script = fmt.Sprintf(`cd %q; echo $$ >> pids; sh -c 'echo $$ >> pids; exec sleep 1000' & `, out)
	processes = 2
	if runtime.GOOS == "linux" {
		script += `setsid sh -c 'echo $$ >> pids; sleep 1000 & echo $! >> pids; wait' & `
		processes = 4
	}
	return script + "wait", processes
}

func TestHookIsKilledWithItsChildren(t *testing.T) {
	dir, out := directories(t)
	script, processes := hang(out)
	r := newRig(t, Options{Directory: opened(t, dir), Hook: shell(script), HookTimeout: 2 * time.Second})
	r.Add(capture(t, dir, 1, 10, pcap.PCAP))
	r.run()
	pids := pidsIn(t, out+"/pids", processes)
	o := r.outcome()
	if o.ExitCode != -1 || o.Err == nil || o.Err.Error() != "hook /bin/sh: killed after 2s" {
		t.Errorf("outcome %+v", o)
	}
	await(t, "all are killed", func() bool { return len(alive(pids)) == 0 })
}

// TestHookLeavesNothingBehind: children of a hook that outlive it are killed.
func TestHookLeavesNothingBehind(t *testing.T) {
	dir, out := directories(t)
	script, processes := hang(out)
	script = strings.TrimSuffix(script, "wait") + fmt.Sprintf("until [ $(wc -l < pids) = %d ]; do sleep 0.01; done", processes)
	r := newRig(t, Options{Directory: opened(t, dir), Hook: shell(script)})
	r.Add(capture(t, dir, 1, 10, pcap.PCAP))
	r.run()
	if o := r.outcome(); o.ExitCode != 0 || o.Err != nil {
		t.Errorf("outcome %+v", o)
	}
	pids := pidsIn(t, out+"/pids", processes)
	await(t, "all are killed", func() bool { return len(alive(pids)) == 0 })
}

func TestHookPrintsWithoutEnd(t *testing.T) {
	dir := t.TempDir()
	r := newRig(t, Options{Directory: opened(t, dir), Hook: shell("head -c 1073741824 /dev/zero; echo the end >&2")})
	r.Add(capture(t, dir, 1, 10, pcap.PCAP))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	r.run()
	if o := r.outcome(); o.Err != nil {
		t.Errorf("outcome %+v", o)
	}
	runtime.ReadMemStats(&after)
	r.close()
	if log := r.log.String(); len(log) > 5*outputLimit || !strings.Contains(log, "the end") ||
		!strings.Contains(log, "output_bytes=1073741832") {
		t.Errorf("log of %d bytes", len(log))
	}
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 4<<20 {
		t.Errorf("%d bytes allocated", grown)
	}
}

// TestHooksAtOnce: each hook counts the hooks that run; the first two wait for
// each other.
func TestHooksAtOnce(t *testing.T) {
	dir, out := directories(t)
	script := fmt.Sprintf(`cd %q; mkdir -p live; : > live/$$; ls live | wc -l >> counts
		: > met.$$; until [ $(ls met.* | wc -l) -ge 2 ]; do sleep 0.01; done
		ls live | wc -l >> counts; rm live/$$`, out)
	r := newRig(t, Options{Directory: opened(t, dir), Hook: shell(script), HookAtOnce: 2})
	const files = 8
	for i := range files {
		r.Add(capture(t, dir, i, 1, pcap.PCAP))
	}
	r.run()
	for range files {
		if o := r.outcome(); o.Err != nil {
			t.Errorf("outcome %+v", o)
		}
	}
	for count := range strings.FieldsSeq(string(content(t, out+"/counts"))) {
		if n, err := strconv.Atoi(count); err != nil || n > 2 {
			t.Errorf("%s at once", count)
		}
	}
}

// TestHookIsRetriedAfterRestart: the first run of a hook fails, the second is
// killed at shutdown, the third succeeds. The facts survive the restart.
func TestHookIsRetriedAfterRestart(t *testing.T) {
	dir, out := directories(t)
	log := fmt.Sprintf(`echo "$CAPD_FILE $CAPD_PACKETS" >> %q/log; `, out)
	r := newRig(t, Options{Directory: opened(t, dir), HookAtOnce: 3, Hook: shell(log + fmt.Sprintf(`
		case $CAPD_FILE in *-000001.pcap) exit 0;; *-000002.pcap) exit 1;; esac; : > %q/hangs; exec sleep 1000`, out))})
	for i := range 3 {
		r.Add(capture(t, dir, i+1, 10*(i+1), pcap.PCAP))
	}
	r.run()
	for range 2 {
		if o := r.outcome(); (o.Err == nil) != (o.Name.Sequence == 1) {
			t.Errorf("outcome %+v", o)
		}
	}
	await(t, "the third hangs", func() bool { _, err := os.Stat(out + "/hangs"); return err == nil })
	ctx, cancel := context.WithCancelCause(t.Context())
	deadline := errors.New("deadline")
	cancel(deadline)
	r.once.Do(func() {})
	if err := r.Close(ctx); !errors.Is(err, deadline) {
		t.Errorf("close: %v", err)
	}
	if o := r.outcome(); o.Err == nil || o.Err.Error() != "hook /bin/sh: killed at shutdown" || o.Name.Sequence != 3 {
		t.Errorf("outcome %+v", o)
	}
	if err := os.Remove(out + "/log"); err != nil {
		t.Fatal(err)
	}
	r = newRig(t, Options{Directory: opened(t, dir), Hook: shell(log)})
	r.run()
	for range 2 {
		if o := r.outcome(); o.Err != nil {
			t.Errorf("outcome %+v", o)
		}
	}
	r.idle()
	r.close()
	expected := fmt.Sprintf("%[1]s/%[2]s 20\n%[1]s/%[3]s 30\n", dir, nameOf(2, pcap.PCAP), nameOf(3, pcap.PCAP))
	if got := string(content(t, out+"/log")); got != expected {
		t.Errorf("hooks ran for %q, want %q", got, expected)
	}
}

// TestHookSurvivesKilledQueue kills the Queue's process while a hook runs.
func TestHookSurvivesKilledQueue(t *testing.T) {
	dir, out := directories(t)
	cmd, _ := startChild(t, dir, "CAPD_FINISH_HOOK="+fmt.Sprintf(`echo $$ > %q/pids; exec sleep 1000`, out))
	pids := pidsIn(t, out+"/pids", 1)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if runtime.GOOS == "linux" {
		await(t, "the hook dies with capd", func() bool { return len(alive(pids)) == 0 })
	}
	r := newRig(t, Options{Directory: opened(t, dir), Hook: shell(fmt.Sprintf(`echo "$CAPD_PACKETS" > %q/log`, out))})
	r.run()
	if o := r.outcome(); o.Err != nil || o.Name != nameOf(1, pcap.PCAP) {
		t.Errorf("outcome %+v", o)
	}
	if got := string(content(t, out+"/log")); got != "10\n" {
		t.Errorf("facts after the restart: %q", got)
	}
}

// TestCloseWaitsForHook: Close lets a hook end by itself.
func TestCloseWaitsForHook(t *testing.T) {
	dir, out := directories(t)
	r := newRig(t, Options{Directory: opened(t, dir), Hook: shell(fmt.Sprintf(`cd %q; : > begun; until [ -e go ]; do sleep 0.01; done`, out))})
	r.Add(capture(t, dir, 1, 10, pcap.PCAP))
	r.run()
	await(t, "the hook runs", func() bool { _, err := os.Stat(out + "/begun"); return err == nil })
	closed := make(chan error, 1)
	go func() { closed <- r.Close(t.Context()) }()
	<-r.stop.Done()
	if err := os.WriteFile(out+"/go", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if o := r.outcome(); o.Err != nil {
		t.Errorf("outcome %+v", o)
	}
}

// TestRest: Rest lets a hook end and begins none. A file that is added then gets its hook, with its
// facts, after the next start.
func TestRest(t *testing.T) {
	dir, out := directories(t)
	opt := Options{Directory: opened(t, dir), Hook: shell(fmt.Sprintf(`cd %q; echo $CAPD_PACKETS >> begun; until [ -e go ]; do sleep 0.01; done`, out))}
	r := newRig(t, opt)
	r.Add(capture(t, dir, 1, 10, pcap.PCAP))
	r.run()
	await(t, "the hook runs", func() bool { _, err := os.Stat(out + "/begun"); return err == nil })
	rested := make(chan error, 1)
	go func() { rested <- r.Rest(t.Context()) }()
	<-r.stop.Done()
	if err := os.WriteFile(out+"/go", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := <-rested; err != nil {
		t.Error(err)
	}
	if o := r.outcome(); o.Err != nil {
		t.Errorf("outcome %+v", o)
	}
	r.Add(capture(t, dir, 2, 20, pcap.PCAP))
	r.close()
	if got := string(content(t, out+"/begun")); got != "10\n" {
		t.Errorf("hooks: %q", got)
	}
	opt.Directory = opened(t, dir)
	r = newRig(t, opt)
	r.run()
	if o := r.outcome(); o.Err != nil {
		t.Errorf("outcome %+v", o)
	}
	if got := string(content(t, out+"/begun")); got != "10\n20\n" {
		t.Errorf("hooks: %q", got)
	}
}

// TestNewHookIsForNewFiles: a new hook does not run on files that existed
// before.
func TestNewHookIsForNewFiles(t *testing.T) {
	dir := t.TempDir()
	old := capture(t, dir, 1, 10, pcap.PCAP)
	r := newRig(t, Options{Directory: opened(t, dir), Hook: shell(":")})
	found := capture(t, dir, 2, 10, pcap.PCAP) // not added, as after a crash
	r.dir.Look(found.Name)
	r.run()
	if o := r.outcome(); o.Err != nil || o.Name != found.Name {
		t.Errorf("outcome %+v", o)
	}
	r.Add(old)
	r.idle()
	r.close()
	if len(r.outcomes) > 0 {
		t.Errorf("outcome %+v", <-r.outcomes)
	}
	newRig(t, Options{Directory: opened(t, dir)}).close()
	want(t, dir, old.Name.String(), found.Name.String()) // without a hook there is no journal
}
