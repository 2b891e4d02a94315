package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"capd/internal/control"
	"capd/internal/extract"
	"capd/internal/testdisk"
	"capd/internal/testnet"
	"capd/ledger"
	"capd/store"

	"golang.org/x/sys/unix"
)

// askersConfig leaves room in memory for the frames that come while the disk hangs, and for those that come while ten questions, with the
// race detector in each, take the processors.
const askersConfig = `
directory = %q
flush_interval = "200ms"
block_timeout = "20ms"
ring_size = "256MiB"
chunk_size = "1MiB"
pool_size = "256MiB"
rotate_interval = "1s"
[control]
socket = %q
[[interface]]
name = "v1"
`

// TestAskersLoseNothing: ten questions at once, clients that stop reading or go away, and questions while the disk hangs cost
// the recorder no frame. CAPD_RATE says how many frames flow a second.
func TestAskersLoseNothing(t *testing.T) {
	testnet.Veth(t, "v0", "v1", 1500)
	disk := testdisk.New(t)
	r := &running{t: t, dir: disk.Dir, config: filepath.Join(t.TempDir(), "capd.toml"), socket: filepath.Join(t.TempDir(), "capd.sock")}
	if err := os.WriteFile(r.config, fmt.Appendf(nil, askersConfig, r.dir, r.socket), 0o600); err != nil {
		t.Fatal(err)
	}
	daemon, errs := process(t, "run", "-c", r.config, "--log-format", "text")
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	ran := false
	t.Cleanup(func() {
		disk.Heal()
		if !ran {
			_ = daemon.Process.Kill()
			_ = daemon.Wait()
		}
	})
	r.await("a state", func(s *control.Status) bool { return s.Interfaces[0].State == control.Recording })
	frames := startLoad(t, "v0", setting("CAPD_RATE", 20_000), false)
	r.await("three files", func(*control.Status) bool {
		c, err := store.ReadContents(r.dir)
		return err == nil && c.Files >= 3
	})

	stuck := r.stopsReading()
	r.goAway()
	r.askAtOnce(10)()

	// Everything that the recorder writes waits, and what it is asked to flush.
	disk.Set(testdisk.Write, testdisk.Fault{Stall: true})
	disk.Set(testdisk.Sync, testdisk.Fault{Stall: true})
	r.await("a disk that hangs", func(*control.Status) bool { return disk.Stalled(testdisk.Write) > 0 })
	ended := r.askAtOnce(3)
	time.Sleep(flushPatience + time.Second) // while frames go on to flow
	disk.Heal()
	ended()

	r.askAtOnce(1)()
	stuck()
	sent := frames.end()
	_ = daemon.Process.Signal(syscall.SIGTERM)
	ran = true
	if err := daemon.Wait(); err != nil {
		t.Errorf("%v: %s", err, errs)
	}
	checkFrames(t, r.dir, sent, restarts{})
}

// askAtOnce asks as many questions at once. It returns how to wait for the answers: they are complete, or miss nothing but what a
// recorder may still have in memory, and the ledger's line of a file that has just ended.
func (r *running) askAtOnce(n int) (wait func()) {
	r.t.Helper()
	var all []*exec.Cmd
	out := r.t.TempDir()
	for i := range n {
		args := []string{"extract", "-c", r.config, "--json"}
		if i%2 == 0 {
			args = append(args, "-w", filepath.Join(out, fmt.Sprint(i)))
		}
		if i%3 > 0 {
			args = append(args, "ether proto 0x88b5")
		}
		cmd, _ := process(r.t, args...)
		cmd.Stdout = new(bytes.Buffer)
		if err := cmd.Start(); err != nil {
			r.t.Fatal(err)
		}
		all = append(all, cmd)
	}
	return func() {
		r.t.Helper()
		for _, cmd := range all {
			_ = cmd.Wait()
			var a extractJSON
			code, err := cmd.ProcessState.ExitCode(), json.Unmarshal(cmd.Stdout.(*bytes.Buffer).Bytes(), &a)
			for _, m := range a.Missing {
				if m.Cause != extract.CauseUnflushed && m.Cause != ledger.CauseLive && m.Cause != ledger.CauseNoLine {
					r.t.Errorf("%s", &m)
				}
			}
			if err != nil || a.Packets == 0 || code != exitFine && code != exitIncomplete {
				r.t.Errorf("%q: exit %d, %v: %s%s", cmd.Args, code, err, cmd.Stdout, cmd.Stderr)
			}
		}
	}
}

// stopsReading starts a client that takes a while of what is found, and nothing after that. It returns how to end it.
func (r *running) stopsReading() (end func()) {
	r.t.Helper()
	cmd, _ := process(r.t, "extract", "-c", r.config, "-w", "-")
	rd, w, err := os.Pipe()
	if err != nil {
		r.t.Fatal(err)
	}
	cmd.Stdout = w
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	w.Close()
	ended := false
	end = func() {
		if !ended {
			ended = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			rd.Close()
		}
	}
	r.t.Cleanup(end)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		waiting, err := unix.IoctlGetInt(int(rd.Fd()), unix.TIOCINQ)
		switch {
		case err != nil:
			r.t.Fatal(err)
		case waiting >= 60<<10: // of the 64 KiB of a pipe
			return end
		case time.Now().After(deadline):
			r.t.Fatal("the pipe does not fill")
		}
	}
}

// goAway makes clients that end while they are answered, of the program and of the control socket.
func (r *running) goAway() {
	r.t.Helper()
	cmd, errs := process(r.t, "extract", "-c", r.config, "-w", "-")
	rd, err := cmd.StdoutPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	if _, err := rd.Read(make([]byte, 1000)); err != nil {
		r.t.Fatal(err)
	}
	rd.Close()
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) {
		r.t.Errorf("nobody reads, and %v: %s", err, errs)
	}
	for range 5 {
		conn, err := net.Dial("unix", r.socket)
		if err != nil {
			r.t.Fatal(err)
		}
		fmt.Fprint(conn, "POST /v1/flush HTTP/1.1\r\nHost: capd\r\nContent-Length: 2\r\n\r\n{}")
		conn.Close()
		if conn, err = net.Dial("unix", r.socket); err != nil {
			r.t.Fatal(err)
		}
		fmt.Fprint(conn, "POST /v1/fl")
		defer conn.Close() // and one that never says what it wants
	}
}
