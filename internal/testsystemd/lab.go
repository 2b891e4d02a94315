//go:build linux

// Package testsystemd boots a real systemd for tests, on a temporary overlay of the machine's root
// and with a network of its own. That takes about a second.
package testsystemd

import (
	"bytes"
	_ "embed"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

//go:embed boot.sh
var boot string

// patience is how long a busy machine may take for any step.
const patience = time.Minute

// A Lab is a container with a systemd.
type Lab struct {
	Shared string // a directory with the same path inside and outside
	init   int    // process id of the lab's init, in the outer namespace
	holder *exec.Cmd
}

// Boot boots a lab, which is powered off at the end of the test. It skips the test if that is
// impossible.
func Boot(tb testing.TB) *Lab {
	tb.Helper()
	if os.Geteuid() != 0 {
		tb.Skip("only root may boot a systemd")
	}
	for _, command := range []string{"/lib/systemd/systemd", "systemctl", "unshare", "nsenter", "ip"} {
		if _, err := exec.LookPath(command); err != nil {
			tb.Skipf("needs systemd, util-linux and iproute2: %v", err)
		}
	}
	l := &Lab{Shared: tb.TempDir()}
	state := tb.TempDir()
	group := "capd-lab-" + strconv.Itoa(os.Getpid()) + "-" + filepath.Base(filepath.Dir(state))
	script := filepath.Join(l.Shared, "boot.sh")
	if err := os.WriteFile(script, []byte(boot), 0o700); err != nil {
		tb.Fatal(err)
	}
	var output bytes.Buffer
	l.holder = exec.Command("unshare", "--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup", "--fork", "--kill-child",
		script, state, l.Shared, group)
	l.holder.Stdout, l.holder.Stderr = &output, &output
	l.holder.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := l.holder.Start(); err != nil {
		tb.Skipf("needs namespaces: %v", err)
	}
	ended := make(chan struct{})
	go func() { _ = l.holder.Wait(); close(ended) }()
	tb.Cleanup(func() {
		_ = l.holder.Process.Kill()
		<-ended
		removeGroup(tb, group)
	})
	for deadline := time.Now().Add(patience); !l.up(); time.Sleep(20 * time.Millisecond) {
		select {
		case <-ended:
			tb.Skipf("needs a machine that lets root mount: %s", &output)
		default:
		}
		if time.Now().After(deadline) {
			tb.Fatalf("systemd did not come up: %s", &output)
		}
	}
	return l
}

// removeGroup removes the control groups of a lab that has ended.
func removeGroup(tb testing.TB, group string) {
	const script = `mount --make-rprivate / && mount -t cgroup2 cgroup2 "$1" && if [ -d "$1/$2" ]; then find "$1/$2" -depth -type d -exec rmdir {} +; fi`
	tb.Helper()
	var out []byte
	for range 50 { // the last of its processes may still be ending
		var err error
		if out, err = exec.Command("unshare", "--mount", "sh", "-ec", script, "sh", tb.TempDir(), group).CombinedOutput(); err == nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	tb.Logf("the control group %s is left: %s", group, out)
}

// up reports whether systemd is running, and finds its process.
func (l *Lab) up() bool {
	pid := l.holder.Process.Pid
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	l.init, _ = strconv.Atoi(strings.TrimSpace(string(children)))
	name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", l.init))
	if string(name) != "systemd\n" {
		return false
	}
	state, _ := l.Command("systemctl", "is-system-running").Output()
	return string(state) == "running\n" || string(state) == "degraded\n"
}

// Command returns a command that runs in the lab.
func (l *Lab) Command(args ...string) *exec.Cmd {
	enter := []string{"--target", strconv.Itoa(l.init), "--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup", "--root", "--wd"}
	return exec.Command("nsenter", append(enter, args...)...)
}

// Run runs a command in the lab and returns its output. The command must succeed.
func (l *Lab) Run(tb testing.TB, args ...string) string {
	tb.Helper()
	out, err := l.Command(args...).CombinedOutput()
	if err != nil {
		tb.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSuffix(string(out), "\n")
}

// Path returns the path outside the lab of a file in the lab.
func (l *Lab) Path(inside string) string { return fmt.Sprintf("/proc/%d/root%s", l.init, inside) }

// Write creates a file in the lab, and the directories above it.
func (l *Lab) Write(tb testing.TB, path, text string, mode os.FileMode) {
	tb.Helper()
	if err := os.MkdirAll(filepath.Dir(l.Path(path)), 0o755); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(l.Path(path), []byte(text), mode); err != nil {
		tb.Fatal(err)
	}
}

// Await waits until a condition holds in the lab.
func (l *Lab) Await(tb testing.TB, what string, holds func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// Ended waits until the lab has powered off.
func (l *Lab) Ended(tb testing.TB) {
	tb.Helper()
	l.Await(tb, "power off", func() bool { return syscall.Kill(l.init, 0) != nil })
}

// Veth creates a pair of interfaces in the lab and sets both up.
func (l *Lab) Veth(tb testing.TB, a, b string) {
	tb.Helper()
	l.Run(tb, "ip", "link", "add", a, "up", "type", "veth", "peer", "name", b)
	l.Run(tb, "ip", "link", "set", b, "up")
}

// Sender opens a socket that sends frames on an interface of the lab.
func (l *Lab) Sender(tb testing.TB, name string) *os.File {
	tb.Helper()
	fd, err := l.socket(name)
	if err != nil {
		tb.Fatalf("send on %s: %v", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	tb.Cleanup(func() { f.Close() })
	return f
}

func (l *Lab) socket(name string) (fd int, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(home)
	lab, err := unix.Open(fmt.Sprintf("/proc/%d/ns/net", l.init), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(lab)
	if err := unix.Setns(lab, unix.CLONE_NEWNET); err != nil {
		return -1, err
	}
	fd, err = packetSocket(name)
	if back := unix.Setns(home, unix.CLONE_NEWNET); back != nil {
		panic(back) // the thread is in another namespace and can't be reused
	}
	return fd, err
}

func packetSocket(name string) (int, error) {
	link, err := net.InterfaceByName(name)
	if err != nil {
		return -1, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: link.Index}); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}
