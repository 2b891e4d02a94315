//go:build linux

package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/jsimonetti/rtnetlink/v2/driver"
	"golang.org/x/sys/unix"
)

// The veth pair: frames are injected into the receive path of one end, on which the recorders
// capture.
const (
	watched  = "race0"
	farEnd   = "race1"
	insideNS = "CAPD_RACE" // set in the process inside the namespace
)

// enter runs this program again, with args, in a new network namespace, and returns its exit code.
// It creates no user namespace, because injection needs privilege in the initial one.
func enter(args []string) (int, error) {
	self, err := os.Executable()
	if err != nil {
		return 1, err
	}
	c := exec.Command(self, args...)
	c.Env = append(os.Environ(), insideNS+"=1")
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGTERM}
	if err := c.Run(); c.ProcessState == nil {
		return 1, fmt.Errorf("make network namespace: %w (needs root)", err)
	}
	return max(c.ProcessState.ExitCode(), 0), nil
}

// newPair creates a pair of interfaces on which the kernel sends nothing by itself. It returns the
// index of the watched one.
func newPair() (ifindex int, err error) {
	for _, scope := range []string{"all", "default"} {
		_ = os.WriteFile("/proc/sys/net/ipv6/conf/"+scope+"/disable_ipv6", []byte("1"), 0)
	}
	conn, err := rtnetlink.Dial(nil)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	peer := &rtnetlink.LinkMessage{Attributes: &rtnetlink.LinkAttributes{Name: farEnd}}
	err = conn.Link.New(&rtnetlink.LinkMessage{Attributes: &rtnetlink.LinkAttributes{
		Name: watched, Info: &rtnetlink.LinkInfo{Kind: "veth", Data: &driver.Veth{PeerInfo: peer}},
	}})
	if err != nil {
		return 0, fmt.Errorf("create veth pair: %w", err)
	}
	for _, name := range []string{farEnd, watched} {
		if ifindex, err = setUp(conn, name); err != nil {
			return 0, fmt.Errorf("bring %s up: %w", name, err)
		}
	}
	return ifindex, nil
}

func setUp(conn *rtnetlink.Conn, name string) (ifindex int, err error) {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return 0, err
	}
	up := &rtnetlink.LinkMessage{Index: uint32(ifi.Index), Flags: unix.IFF_UP, Change: unix.IFF_UP}
	return ifi.Index, conn.Link.Set(up)
}

// pin binds a thread, and the processes that it starts, to one CPU. Thread 0 is the calling thread.
func pin(thread, cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(thread, &set); err != nil {
		return fmt.Errorf("pin to CPU %d: %w", cpu, err)
	}
	return nil
}

// hurry lets the calling thread run before the programs of the machine on its CPU, as the receive
// path of a network card does, and returns a function that ends that. Threads and processes that it
// starts don't inherit it.
func hurry() (rest func()) {
	old, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		return func() {}
	}
	fifo := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1, Flags: unix.SCHED_FLAG_RESET_ON_FORK}
	if unix.SchedSetAttr(0, &fifo, 0) != nil {
		return func() {}
	}
	return func() { _ = unix.SchedSetAttr(0, old, 0) }
}

// pinAll binds all threads of this process to one CPU. Otherwise threads of Go's runtime would take
// time from the recorder: its monitor wakes up every 100 us.
func pinAll(cpu int) error {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, t := range threads {
		id, err := strconv.Atoi(t.Name())
		if err == nil {
			err = pin(id, cpu)
		}
		if err != nil && !errors.Is(err, unix.ESRCH) { // the thread has ended
			return err
		}
	}
	return nil
}
