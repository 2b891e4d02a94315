//go:build linux

// Package testnet runs tests in a network namespace, in which an ordinary user may create
// interfaces and capture on them.
package testnet

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/jsimonetti/rtnetlink/v2/driver"
	"golang.org/x/sys/unix"
)

// state is an environment variable that says whether the test process is in such a namespace
// ("in"), or why not.
const state = "CAPD_TESTNET"

// Tests is the part of *testing.M that Main uses.
type Tests interface{ Run() int }

// Main is for TestMain. It runs the package's tests again in a process with its own user, network
// and mount namespaces, and returns the exit code. If the system refuses the namespaces, the tests
// run without them, and Need skips tests.
func Main(m Tests) int { return run(m, unix.CLONE_NEWUSER) }

// MainAsRoot is Main for tests that need the privileges of the machine's root: root stays root, and
// other users get a user namespace.
func MainAsRoot(m Tests) int {
	if os.Geteuid() == 0 {
		return run(m, 0, unix.CLONE_NEWUSER)
	}
	return Main(m)
}

// run runs the tests with the first of the clone flags that the system allows.
func run(m Tests, flags ...uintptr) int {
	if os.Getenv(state) != "" {
		return inside(m)
	}
	c, err := start(flags)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testnet:", err)
		return 1
	}
	if err := c.Wait(); err != nil {
		if c.ProcessState.ExitCode() > 0 {
			return c.ProcessState.ExitCode()
		}
		fmt.Fprintln(os.Stderr, "testnet:", err)
		return 1
	}
	return 0
}

func start(flags []uintptr) (*exec.Cmd, error) {
	child := func(how string) *exec.Cmd {
		c := exec.Command(os.Args[0], os.Args[1:]...)
		c.Env = append(os.Environ(), state+"="+how)
		c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
		return c
	}
	var err error
	for _, flag := range flags {
		c := child("in")
		c.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags: flag | unix.CLONE_NEWNET | unix.CLONE_NEWNS,
			Pdeathsig:  syscall.SIGKILL,
		}
		if flag == unix.CLONE_NEWUSER {
			c.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
			c.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
		}
		if err = c.Start(); err == nil {
			return c, nil
		}
	}
	c := child(err.Error())
	return c, c.Start()
}

// inside prevents the namespace from sending frames by itself, so that tests receive only their
// own, and runs the tests.
func inside(m Tests) int {
	if os.Getenv(state) == "in" {
		for _, scope := range []string{"all", "default"} {
			_ = os.WriteFile("/proc/sys/net/ipv6/conf/"+scope+"/disable_ipv6", []byte("1"), 0)
		}
	}
	return m.Run()
}

// Refused returns why the tests have no namespaces, or "" if they have them.
func Refused() string {
	switch why := os.Getenv(state); why {
	case "in":
		return ""
	case "":
		return "the package's TestMain does not call testnet.Main"
	default:
		return "user and network namespaces: " + why
	}
}

// Need skips the test if there is no namespace for it.
func Need(tb testing.TB) {
	tb.Helper()
	if why := Refused(); why != "" {
		tb.Skip("needs privilege: " + why)
	}
}

// Veth creates the pair a, b with the MTU and sets both up. They are removed at the end of the
// test.
func Veth(tb testing.TB, a, b string, mtu uint32) {
	tb.Helper()
	Need(tb)
	conn := dial(tb)
	defer conn.Close()
	peer := &rtnetlink.LinkMessage{Attributes: &rtnetlink.LinkAttributes{Name: b, MTU: mtu}}
	err := conn.Link.New(&rtnetlink.LinkMessage{Attributes: &rtnetlink.LinkAttributes{
		Name: a, MTU: mtu, Info: &rtnetlink.LinkInfo{Kind: "veth", Data: &driver.Veth{PeerInfo: peer}},
	}})
	if err != nil {
		tb.Fatalf("create veth pair %s, %s: %v", a, b, err)
	}
	tb.Cleanup(func() { remove(a) })
	SetUp(tb, a, true)
	SetUp(tb, b, true)
	Await(tb, a)
	Await(tb, b)
}

// Await returns when the interface, which is up and whose peer is up, can send. The kernel attaches
// its queue some time after the interface or its peer is set up, and drops frames until then. It
// does so together with the change of the operational state (linkwatch_do_dev in the kernel's
// net/core/link_watch.c): the queue's name alone is that of an earlier time up.
func Await(tb testing.TB, name string) {
	tb.Helper()
	conn, index := dial(tb), uint32(Index(tb, name))
	defer conn.Close()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		link, err := conn.Link.Get(index)
		if err != nil {
			tb.Fatal(err)
		}
		if a := link.Attributes; a != nil && a.OperationalState == rtnetlink.OperStateUp && a.QueueDisc != "noop" {
			return
		}
		if time.Now().After(deadline) {
			tb.Fatalf("%s has no queue", name)
		}
	}
}

// Index returns the interface's index.
func Index(tb testing.TB, name string) int {
	tb.Helper()
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		tb.Fatal(err)
	}
	return ifi.Index
}

// SetUp sets the interface up or down.
func SetUp(tb testing.TB, name string, up bool) {
	tb.Helper()
	var flags uint32
	if up {
		flags = unix.IFF_UP
	}
	change(tb, name, rtnetlink.LinkMessage{Flags: flags, Change: unix.IFF_UP})
}

// Rename renames the interface. Kernels before 6.2 require that it is down.
func Rename(tb testing.TB, name, to string) {
	tb.Helper()
	change(tb, name, rtnetlink.LinkMessage{Attributes: &rtnetlink.LinkAttributes{Name: to}})
}

// SetAddress changes the interface's hardware address.
func SetAddress(tb testing.TB, name string, addr net.HardwareAddr) {
	tb.Helper()
	change(tb, name, rtnetlink.LinkMessage{Attributes: &rtnetlink.LinkAttributes{Address: addr}})
}

// SetMTU changes the interface's MTU.
func SetMTU(tb testing.TB, name string, mtu uint32) {
	tb.Helper()
	change(tb, name, rtnetlink.LinkMessage{Attributes: &rtnetlink.LinkAttributes{MTU: mtu}})
}

// MoveAway moves the interface to another network namespace, which exists until the test ends.
func MoveAway(tb testing.TB, name string) {
	tb.Helper()
	other := exec.Command("sleep", "infinity")
	other.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := other.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = other.Process.Kill()
		_ = other.Wait()
	})
	ns := rtnetlink.NetNSForPID(uint32(other.Process.Pid))
	change(tb, name, rtnetlink.LinkMessage{Attributes: &rtnetlink.LinkAttributes{NetNS: ns}})
}

// Remove removes the interface and its peer.
func Remove(tb testing.TB, name string) {
	tb.Helper()
	if err := remove(name); err != nil {
		tb.Fatalf("remove %s: %v", name, err)
	}
}

func remove(name string) error {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return err
	}
	conn, err := rtnetlink.Dial(nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Link.Delete(uint32(ifi.Index))
}

func change(tb testing.TB, name string, msg rtnetlink.LinkMessage) {
	tb.Helper()
	conn := dial(tb)
	defer conn.Close()
	msg.Index = uint32(Index(tb, name))
	if err := conn.Link.Set(&msg); err != nil {
		tb.Fatalf("change %s: %v", name, err)
	}
}

func dial(tb testing.TB) *rtnetlink.Conn {
	tb.Helper()
	conn, err := rtnetlink.Dial(nil)
	if err != nil {
		tb.Fatal(err)
	}
	return conn
}

// Arrive returns when what was sent over links has come to their other ends. On a busy machine the kernel leaves that to a thread of its
// own: until then frames wait in a queue of their processor, the backlog, which is lost to an interface that goes down and to a process
// that ends.
func Arrive(tb testing.TB) {
	tb.Helper()
	for deadline := time.Now().Add(20 * time.Second); backlog(tb) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatal("frames wait for their processor")
		}
	}
}

// backlog returns how many frames wait for a processor: the 12th number of its line (softnet_seq_show in the kernel's
// net/core/net-procfs.c).
func backlog(tb testing.TB) (n uint64) {
	b, err := os.ReadFile("/proc/net/softnet_stat")
	if err != nil {
		tb.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 11 {
			waiting, _ := strconv.ParseUint(f[11], 16, 32)
			n += waiting
		}
	}
	return n
}

// A Sender sends frames on an interface, until Close or the end of the test.
type Sender struct {
	tb     testing.TB
	fd     int
	sent   uint64
	closed bool
}

// atOnce is after how many frames a Sender waits until they have arrived: the kernel drops what is above 1,000
// (net.core.netdev_max_backlog), and tests that run beside this one use the same queue.
const atOnce = 256

// NewSender opens a packet socket that sends on the interface.
func NewSender(tb testing.TB, name string) *Sender {
	tb.Helper()
	Need(tb)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		tb.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: Index(tb, name)}); err != nil {
		unix.Close(fd)
		tb.Fatal(err)
	}
	s := &Sender{tb: tb, fd: fd}
	tb.Cleanup(s.Close)
	return s
}

// Close closes the socket, unless it was closed before.
func (s *Sender) Close() {
	if !s.closed {
		s.closed = true
		unix.Close(s.fd)
	}
}

// Send sends one frame, including its Ethernet header. However many are sent, none is lost on its way.
func (s *Sender) Send(frame []byte) {
	s.tb.Helper()
	for {
		_, err := unix.Write(s.fd, frame)
		switch err {
		case nil:
			if s.sent++; s.sent%atOnce == 0 {
				Arrive(s.tb)
			}
			return
		case unix.ENOBUFS, unix.EINTR, unix.EAGAIN:
		default:
			s.tb.Fatalf("send %d bytes: %v", len(frame), err)
		}
	}
}
