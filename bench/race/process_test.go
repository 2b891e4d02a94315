//go:build linux

package main

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestHurry: a thread that hurried is an ordinary one again.
func TestHurry(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	of := func() unix.SchedAttr {
		a, err := unix.SchedGetAttr(0, 0)
		if err != nil {
			t.Fatal(err)
		}
		return *a
	}
	before := of()
	rest := hurry()
	if hurried := of(); hurried.Policy != unix.SCHED_FIFO {
		t.Skip("needs CAP_SYS_NICE")
	}
	rest()
	if after := of(); after.Policy != before.Policy || after.Flags != before.Flags {
		t.Errorf("before %+v, after %+v", before, after)
	}
}

func TestRingsIn(t *testing.T) {
	const text = `55d0c0000000-55d0c0100000 r-xp 00000000 fe:00 1234                       /usr/bin/recorder
Rss:                 900 kB
7f0000000000-7f0008000000 rw-s 00000000 00:08 52101                      socket:[52101]
Size:             131072 kB
Rss:              131072 kB
Pss:              131072 kB
VmFlags: rd wr sh mr mw me ms sd
7f0010000000-7f0018000000 rw-s 00000000 00:08 52102                      socket:[52102]
Rss:                  16 kB
7f0020000000-7f0028000000 rw-p 00000000 00:00 0
Rss:                 777 kB
`
	if got, want := ringsIn(text), int64(131072+16)<<10; got != want {
		t.Errorf("%d, want %d", got, want)
	}
}

// TestStopWakes: what a recorder needs to end happens after the signal, and ends with the recorder.
func TestStopWakes(t *testing.T) {
	runtime.LockOSThread() // the process ends with the thread that started it
	defer runtime.UnlockOSThread()
	dir := t.TempDir()
	path := program(t, dir, "recorder", `trap 'mkfifo wait && read x <wait; exit 0' INT; echo >ready; while :; do sleep 0.01; done`)
	p, err := start([]string{path}, dir, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer p.kill()
	ready := func() (bool, error) {
		_, err := os.Stat(filepath.Join(dir, "ready"))
		return err == nil, nil
	}
	if err := p.await(t.Context(), time.Minute, ready); err != nil {
		t.Fatal(err)
	}
	ended := false
	_, err = p.stop(t.Context(), syscall.SIGINT, func(ctx context.Context) {
		var f *os.File
		for f == nil && ctx.Err() == nil {
			f, _ = os.OpenFile(filepath.Join(dir, "wait"), os.O_WRONLY|syscall.O_NONBLOCK, 0)
		}
		_, _ = f.WriteString("frame\n")
		<-ctx.Done()
		ended = true
	})
	if err != nil || !ended {
		t.Errorf("ended %v, %v", ended, err)
	}
}
