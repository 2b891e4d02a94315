//go:build linux

// Package testdisk gives tests file systems for tests of failures: a FUSE file system with faults
// that the test controls, small ones that fill up soon, and real ones in images. All are mounted in
// a mount namespace of the test process.
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

// Environment variables for the test process and the guard: state says whether the process may
// mount ("in"), or why not.
const (
	state     = "CAPD_TESTDISK"
	guardRole = "guard"
)

// Main replaces testnet.Main in TestMain. It also allows the tests to mount.
func Main(m testnet.Tests) int { return testnet.Main(tests{m}) }

// MainAsRoot is Main for tests that mount images: root stays root.
func MainAsRoot(m testnet.Tests) int { return testnet.MainAsRoot(tests{m}) }

type tests struct{ testnet.Tests }

// Run runs the tests with private mounts and a guard process.
func (t tests) Run() int {
	if os.Getenv(state) == guardRole {
		return guard()
	}
	if err := private(); err != nil {
		os.Setenv(state, err.Error())
		return t.Tests.Run()
	}
	dismiss, err := startGuard()
	if err != nil {
		fmt.Fprintln(os.Stderr, "testdisk:", err)
		return 1
	}
	defer dismiss()
	os.Setenv(state, "in")
	return t.Tests.Run()
}

// private makes sure that mounts are not visible outside the namespace.
func private() error {
	if why := testnet.Refused(); why != "" {
		return errors.New(why)
	}
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	return nil
}

// startGuard starts the guard process. A process that serves the FUSE file system on which it waits
// can't be killed, because its threads wait for each other. The guard lives until the thread that
// started it ends, and then aborts the mounts.
func startGuard() (dismiss func(), err error) {
	c := exec.Command(os.Args[0], "-test.run=^$")
	c.Env = append(os.Environ(), state+"="+guardRole)
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

// guard is the main function of the guard process: it waits for the end of the tests or of their
// process.
func guard() int {
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

// abort aborts all FUSE mounts in the namespace, even if processes wait for them.
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

// Need skips the test if nothing can be mounted.
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

// NeedRoot skips the test unless the machine's root runs it.
func NeedRoot(tb testing.TB) {
	tb.Helper()
	Need(tb)
	m, err := os.ReadFile("/proc/self/uid_map")
	if f := strings.Fields(string(m)); err != nil || os.Geteuid() != 0 || len(f) != 3 || f[2] != "4294967295" {
		tb.Skip("needs root")
	}
}
