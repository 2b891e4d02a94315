//go:build linux

// Package testdisk gives tests file systems of their own in which everything
// can go wrong: a loopback file system whose faults the test commands, small
// ones that are soon full, and real ones in images. All are mounted in a mount
// namespace of the test process alone.
package testdisk

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"capd/internal/testnet"

	"golang.org/x/sys/unix"
)

// state tells the test process whether it may mount: "in", or why not; and the
// guard what it is.
const (
	state = "CAPD_TESTDISK"
	guard = "guard"
)

// Main is for TestMain, in the place of testnet.Main: the tests may also mount.
func Main(m testnet.Tests) int { return testnet.Main(tests{m}) }

// MainAsRoot is Main for tests that mount images: root stays root.
func MainAsRoot(m testnet.Tests) int { return testnet.MainAsRoot(tests{m}) }

type tests struct{ testnet.Tests }

// Run runs the tests with all mounts private and a guard beside them.
func (t tests) Run() int {
	if os.Getenv(state) == guard {
		return stand()
	}
	if err := private(); err != nil {
		os.Setenv(state, err.Error())
		return t.Tests.Run()
	}
	dismiss, err := post()
	if err != nil {
		fmt.Fprintln(os.Stderr, "testdisk:", err)
		return 1
	}
	defer dismiss()
	os.Setenv(state, "in")
	return t.Tests.Run()
}

// private makes sure that nothing mounted here is seen outside.
func private() error {
	if why := testnet.Refused(); why != "" {
		return errors.New(why)
	}
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	return nil
}

// post starts the guard. A process that serves the file system on which it
// waits can't be killed: its threads wait for it and it for its threads. The
// guard lives until the thread that started it ends, and then aborts what is
// mounted.
func post() (dismiss func(), err error) {
	c := exec.Command(os.Args[0], "-test.run=^$")
	c.Env = append(os.Environ(), state+"="+guard)
	c.Stderr = os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	hold, err := c.StdinPipe()
	if err != nil {
		return nil, err
	}
	up, err := c.StdoutPipe()
	if err != nil {
		return nil, err
	}
	started, ended := make(chan error), make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread()
		started <- c.Start()
		<-ended
	}()
	if err := <-started; err != nil {
		ended <- struct{}{}
		return nil, fmt.Errorf("start guard: %w", err)
	}
	_, err = up.Read(make([]byte, 1))
	return func() {
		_ = hold.Close()
		_ = c.Wait()
		ended <- struct{}{}
		<-ended
	}, err
}

// stand is the guard: it waits for the end of the tests, or of their process.
func stand() int {
	signal.Ignore(syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP)
	died := make(chan os.Signal, 1)
	signal.Notify(died, syscall.SIGTERM)
	dismissed := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(dismissed)
	}()
	fmt.Print("\n")
	select {
	case <-died:
		_ = abort()
	case <-dismissed:
	}
	return 0
}

// abort ends all FUSE mounts of the namespace, whoever waits for them.
func abort() error {
	h, err := os.Open("/proc/self/mounts")
	if err != nil {
		return err
	}
	defer h.Close()
	for s := bufio.NewScanner(h); s.Scan(); {
		if f := strings.Fields(s.Text()); len(f) > 2 && f[2] == "fuse."+fuseName {
			err = unix.Unmount(f[1], unix.MNT_FORCE|unix.MNT_DETACH)
		}
	}
	return err
}

// Need skips the test where nothing can be mounted.
func Need(tb testing.TB) {
	tb.Helper()
	switch why := os.Getenv(state); why {
	case "in":
	case "":
		tb.Skip("needs mounts: the package's TestMain does not call testdisk.Main")
	default:
		tb.Skip("needs mounts: " + why)
	}
}

// NeedRoot skips the test where it is not run by the machine's root.
func NeedRoot(tb testing.TB) {
	tb.Helper()
	Need(tb)
	m, err := os.ReadFile("/proc/self/uid_map")
	if f := strings.Fields(string(m)); err != nil || os.Geteuid() != 0 || len(f) != 3 || f[2] != "4294967295" {
		tb.Skip("needs root")
	}
}
