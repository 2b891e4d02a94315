package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	landlocksys "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// role is an environment variable that makes the test's own binary do a job in a separate process,
// because entering the sandbox is irrevocable.
const role = "CAPD_TEST_SANDBOX"

func TestMain(m *testing.M) {
	var err error
	switch job, dir, _ := strings.Cut(os.Getenv(role), ":"); job {
	case "enter":
		err = enterAndTry(dir)
	case "become":
		err = becomeAndTry()
	case "relinquish":
		err = relinquishAndTry()
	case "drop":
		err = dropAndTry()
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

// play runs the test's binary with the job as its role.
func play(t *testing.T, job string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), role+"="+job)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// threads starts n threads before the sandbox is entered. The returned function calls f in each of
// them.
func threads(n int) (each func(f func() error) error) {
	work, done := make(chan func() error), make(chan error)
	for range n {
		go func() {
			runtime.LockOSThread()
			for f := range work {
				done <- f()
			}
		}()
	}
	return func(f func() error) error {
		for range n { // each thread blocks in its call until all threads are busy
			go func() { work <- f }()
		}
		var all []error
		for range n {
			all = append(all, <-done)
		}
		return errors.Join(all...)
	}
}

func TestEnter(t *testing.T) {
	if n, err := landlocksys.LandlockGetABIVersion(); err != nil || n < 1 {
		t.Skipf("needs a kernel with Landlock: %v", err)
	}
	dir := t.TempDir()
	for _, d := range []string{"write", "read", "none"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, d, "file"), []byte(d), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	play(t, "enter:"+dir)
}

// enterAndTry enters a sandbox and tries what is allowed and what is not.
func enterAndTry(dir string) error {
	each := threads(8)
	report, err := Enter(Policy{
		Read:  []string{filepath.Join(dir, "read"), filepath.Join(dir, "not there"), "/proc", "/etc/passwd"},
		Write: []string{filepath.Join(dir, "write"), filepath.Join(dir, "nor this")},
		Files: []string{"/dev/null"},
	})
	if err != nil || report.Landlock < 1 {
		return fmt.Errorf("%+v: %w", report, err)
	}
	return each(func() error {
		return errors.Join(
			allowed(touch(dir, "write")), allowed(read(dir, "write")), allowed(os.WriteFile("/dev/null", nil, 0)),
			allowed(read(dir, "read")), denied(touch(dir, "read")), denied(read(dir, "none")), denied(touch(dir, "none")),
			denied(os.Rename(filepath.Join(dir, "write", "file"), filepath.Join(dir, "none", "moved"))),
			denied(os.Remove(filepath.Join(dir, "none", "file"))), powerless(),
		)
	})
}

// powerless checks that the calling thread has no capabilities.
func powerless() error {
	status, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		return err
	}
	permitted, effective, err := held()
	if rest := (permitted | effective) &^ needed(false); err != nil || rest != 0 || !bytes.Contains(status, []byte("NoNewPrivs:\t1\n")) {
		return fmt.Errorf("capabilities %x left, %w in\n%s", rest, err, status)
	}
	return barren()
}

// barren checks that programs which root starts from the calling thread get no capability.
func barren() error {
	if os.Getuid() != 0 {
		return nil
	}
	bits, err := unix.PrctlRetInt(unix.PR_GET_SECUREBITS, 0, 0, 0, 0)
	if err != nil || bits&noRoot != noRoot {
		return fmt.Errorf("securebits are %x: %w", bits, errors.Join(err, errors.New("root is special")))
	}
	for c := range unix.CAP_LAST_CAP + 1 {
		ambient, ambientErr := unix.PrctlRetInt(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_IS_SET, uintptr(c), 0, 0)
		bound, boundErr := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(c), 0, 0, 0)
		if ambientErr != nil || boundErr != nil {
			continue // the kernel has fewer
		}
		if ambient != 0 || bound != 0 && needed(false)&setOf(c) == 0 {
			return fmt.Errorf("capability %d: ambient %d, in the bounding set %d", c, ambient, bound)
		}
	}
	return nil
}

func touch(dir, name string) error {
	f, err := os.CreateTemp(filepath.Join(dir, name), "")
	if err == nil {
		f.Close()
		err = os.Remove(f.Name())
	}
	return err
}

func read(dir, name string) error {
	_, err := os.ReadFile(filepath.Join(dir, name, "file"))
	return err
}

func allowed(err error) error {
	if err != nil {
		return fmt.Errorf("refused: %w", err)
	}
	return nil
}

func denied(err error) error {
	if !errors.Is(err, fs.ErrPermission) && !errors.Is(err, unix.EXDEV) {
		return fmt.Errorf("not refused: %w", errors.Join(err, errors.New("a call")))
	}
	return nil
}

func TestBecome(t *testing.T) {
	if os.Getuid() != 0 {
		nobody := Account{Name: "nobody", UID: os.Getuid() + 1}
		if err := nobody.Become(); !errors.Is(err, fs.ErrPermission) {
			t.Error(err)
		}
		t.Skip("only root can become another user")
	}
	play(t, "become:")
}

// becomeAndTry switches to the user nobody. All threads must keep the capability to open
// interfaces, and no other.
func becomeAndTry() error {
	each := threads(8)
	nobody, err := Lookup("nobody")
	if err != nil {
		return err
	}
	if err := nobody.Become(); err != nil {
		return err
	}
	try := func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
		if err == nil {
			err = unix.Close(fd)
		}
		status, _ := os.ReadFile("/proc/thread-self/status")
		for _, want := range []string{
			fmt.Sprintf("Uid:\t%[1]d\t%[1]d\t%[1]d\t%[1]d\n", nobody.UID), fmt.Sprintf("Gid:\t%[1]d\t%[1]d\t%[1]d\t%[1]d\n", nobody.GID),
			"CapPrm:\t0000000000002000\n", "CapEff:\t0000000000002000\n",
		} {
			if !bytes.Contains(status, []byte(want)) {
				err = errors.Join(err, fmt.Errorf("no %q in\n%s", want, status))
			}
		}
		return err
	}
	if err := each(try); err != nil {
		return err
	}
	if err := nobody.Become(); err != nil {
		return fmt.Errorf("again: %w", err)
	}
	if err := (Account{Name: "root"}).Become(); !errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("root again: %w", errors.Join(err, errors.New("no")))
	}
	return nil
}

func TestRelinquish(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can become another user")
	}
	play(t, "relinquish:")
	play(t, "drop:")
}

// relinquishAndTry switches to the user nobody. No thread may keep a capability.
func relinquishAndTry() error {
	each := threads(8)
	nobody, err := Lookup("nobody")
	if err != nil {
		return err
	}
	if same, err := LookupID(fmt.Sprint(nobody.UID)); err != nil || same.Name != "nobody" || same.GID != nobody.GID {
		return fmt.Errorf("%+v, and by its number %+v: %w", nobody, same, err)
	}
	if err := nobody.Relinquish(); err != nil {
		return err
	}
	return each(func() error { return stripped(nobody.UID) })
}

func dropAndTry() error {
	each := threads(8)
	if err := DropCapabilities(); err != nil {
		return err
	}
	return each(func() error { return stripped(0) })
}

// stripped checks that the calling thread is the user, and has no capabilities.
func stripped(uid int) error {
	status, err := os.ReadFile("/proc/thread-self/status")
	for _, want := range []string{fmt.Sprintf("Uid:\t%[1]d\t%[1]d\t%[1]d\t%[1]d\n", uid), "CapPrm:\t0000000000000000\n", "CapEff:\t0000000000000000\n"} {
		if !bytes.Contains(status, []byte(want)) {
			err = errors.Join(err, fmt.Errorf("no %q in\n%s", want, status))
		}
	}
	return err
}

func TestLookup(t *testing.T) {
	if a, err := Lookup("root"); err != nil || a.UID != 0 || a.Name != "root" {
		t.Error(a, err)
	}
	if _, err := Lookup("nobody of this name"); err == nil {
		t.Error("found")
	}
}
