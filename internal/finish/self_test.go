package finish

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"capd/pcap"
)

// compressChild is the process that does a step. At the stage in its first
// argument it writes its pid into the directory in the second, and waits there
// for the file "go".
func compressChild(args []string) int {
	err := serve(os.Stdin, os.Stdout, func(stage string) {
		if stage == stageWritten && runtime.GOOS == "linux" {
			mustBeNice()
		}
		if stage == stageIdle && runtime.GOOS == "linux" {
			mustBeIdle()
		}
		if len(args) == 0 || stage != args[0] {
			return
		}
		pids := filepath.Join(args[1], "pids")
		if err := os.WriteFile(pids, fmt.Appendln(nil, os.Getpid()), 0o600); err != nil {
			panic(err)
		}
		for _, err := os.Stat(filepath.Join(args[1], "go")); err != nil; _, err = os.Stat(filepath.Join(args[1], "go")) {
			time.Sleep(time.Millisecond)
		}
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// mustBeNice panics if any thread does not have the lowest priority: field 19
// of proc_pid_stat(5).
func mustBeNice() { eachThread(19, "19") }

// mustBeIdle panics if any thread does not have the scheduling policy
// SCHED_IDLE: field 41.
func mustBeIdle() { eachThread(41, "5") }

// eachThread panics if a field of any thread has another value.
func eachThread(field int, want string) {
	threads, err := filepath.Glob("/proc/self/task/*/stat")
	if err != nil || len(threads) < 2 {
		panic(fmt.Sprint(threads, err))
	}
	for _, path := range threads {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := bytes.Cut(stat, []byte(") "))
		if got := strings.Fields(string(rest))[field-3]; got != want {
			panic(fmt.Sprintf("field %d is %s", field, got))
		}
	}
}

func TestOwnProcess(t *testing.T) {
	for _, kind := range compressions {
		dir := t.TempDir()
		f := capture(t, dir, 1, 2000, pcap.PCAPNG)
		original := content(t, f.Path)
		r := newRig(t, Options{Directory: opened(t, dir), Compression: kind, Self: []string{os.Args[0], "compress"}})
		r.Add(f)
		r.run()
		o := r.outcome()
		if o.Err != nil || o.SHA256 != sha(original) || o.Size != f.Size || o.Packed == 0 || o.Path != f.Path+kind.Ext() {
			t.Errorf("outcome %+v", o)
		}
		want(t, dir, filepath.Base(o.Path))
		tool(t, kind, o.Path, original)
	}
}

func TestOwnProcessFails(t *testing.T) {
	for name, test := range map[string]struct {
		self     []string
		keepFree uint64
		want     string
	}{
		"missing": {[]string{"/no/such/program"}, 0, "compress: fork/exec /no/such/program: no such file or directory"},
		"fails":   {[]string{"/bin/sh", "-c", "cat >&2; exit 3"}, 0, "compress: /bin/sh: exit status 3: "},
		"silent":  {[]string{"/bin/true"}, 0, "compress: /bin/true: "},
		"reports": {[]string{os.Args[0], "compress"}, 1 << 62, "not enough space to compress"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			f := capture(t, dir, 1, 10, pcap.PCAP)
			r := newRig(t, Options{Directory: opened(t, dir), Compression: Zstd, Self: test.self, KeepFree: test.keepFree})
			if name == "fails" { // it reads until the order to stop closes its stdin
				r.stopAll()
			}
			_, err := r.steps[0].do(f.Name.String())
			if name == "fails" {
				if !errors.Is(err, errNothing) {
					t.Errorf("error %v", err)
				}
			} else if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %s", err, test.want)
			}
			want(t, dir, f.Name.String())
		})
	}
}

// TestOwnProcessIsStopped closes the Queue while a file is half compressed. The
// process gives up by itself if there is time, and is killed otherwise.
func TestOwnProcessIsStopped(t *testing.T) {
	for _, patient := range []bool{true, false} {
		t.Run(fmt.Sprint(patient), func(t *testing.T) {
			dir, out := directories(t)
			f := capture(t, dir, 1, 6000, pcap.PCAP)
			r := newRig(t, Options{
				Directory: opened(t, dir), Compression: Zstd, Self: []string{os.Args[0], "compress", stageWriting, out},
			})
			r.Add(f)
			r.run()
			pids := pidsIn(t, out+"/pids", 1)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if !patient {
				cancel()
			}
			r.once.Do(func() {})
			closed := make(chan error, 1)
			go func() { closed <- r.Close(ctx) }()
			<-r.stop.Done()
			if patient {
				if err := os.WriteFile(out+"/go", nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := <-closed; (err == nil) != patient {
				t.Errorf("close: %v", err)
			}
			if left := alive(pids); len(left) > 0 {
				t.Errorf("process %d runs", left)
			}
			want(t, dir, f.Name.String())
		})
	}
}

// TestKilledQueueTakesItsProcessAlong kills the Queue's process while another
// process compresses. The next Queue completes the file.
func TestKilledQueueTakesItsProcessAlong(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs Linux's parent death signal")
	}
	for _, stage := range []string{stageWriting, stageVerified, stageRenamed} {
		dir, out := directories(t)
		f := capture(t, dir, 1, 6000, pcap.PCAP)
		original := content(t, f.Path)
		cmd, _ := startChild(t, dir, childStage+"="+stage, childOut+"="+out)
		pids := pidsIn(t, out+"/pids", 1)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		await(t, "both are dead", func() bool { return len(alive(pids)) == 0 })
		if !bytes.Equal(content(t, f.Path), original) {
			t.Error("the original is damaged")
		}
		r := newRig(t, Options{Directory: opened(t, dir), Compression: Zstd, Self: []string{os.Args[0], "compress"}})
		r.run()
		if o := r.outcome(); o.Err != nil || o.SHA256 != sha(original) {
			t.Errorf("%s: outcome %+v", stage, o)
		}
		want(t, dir, f.Name.String()+".zst")
	}
}
