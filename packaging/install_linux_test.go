package packaging_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"capd/internal/testsystemd"
	"capd/ledger"
	"capd/pcap"
	"capd/store"
)

// state is the directory of captures in the packages' configuration.
const state = "/var/lib/capd"

// A machine is a lab in which packages are installed.
type machine struct {
	*testing.T
	lab  *testsystemd.Lab
	send *os.File
	sent uint32 // frames, which are numbered from 1
}

// TestInstall installs, upgrades and removes packages on a system with a real systemd, during a
// recording.
func TestInstall(t *testing.T) {
	testsystemd.Boot(t) // skips the test early if there can be no lab
	const formats = "FORMATS=deb rpm"
	versions := []made{build(t, formats), build(t, formats, "PACKAGE_VERSION="+newer)}
	t.Run("deb", func(t *testing.T) { testInstallDeb(newMachine(t, "dpkg", "deb", versions)) })
	t.Run("rpm", func(t *testing.T) { testInstallRPM(newMachine(t, "rpm", "rpm", versions)) })
}

// newMachine boots a lab for a package manager, with several versions of a package.
func newMachine(t *testing.T, manager, format string, versions []made) (m *machine, packages []string) {
	t.Helper()
	if _, err := exec.LookPath(manager); err != nil {
		t.Skipf("needs %s: %v", manager, err)
	}
	m = &machine{T: t, lab: testsystemd.Boot(t)}
	for _, v := range versions {
		packages = append(packages, m.share(v[format]))
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(m.lab.Run(t, "journalctl", "-u", "capd", "--no-pager", "-o", "short-monotonic"))
		}
	})
	m.lab.Run(t, "rm", "-f", "/usr/sbin/policy-rc.d") // in container images, this file prevents services from being restarted
	m.lab.Veth(t, "eth0", "peer")
	m.send = m.lab.Sender(t, "peer")
	return m, packages
}

// testInstallDeb also purges the package.
func testInstallDeb(m *machine, debs []string) {
	t := m.T
	m.lab.Run(t, "dpkg", "-i", debs[0])
	m.installed()
	text := m.configure()
	m.lab.Run(t, "systemctl", "start", "capd")
	m.record(500)

	m.upgrade("dpkg", "-i", debs[1])
	if got := m.lab.Run(t, "dpkg-query", "-W", "-f", "${Version} ${Status}", "capd"); got != "99.0.0 install ok installed" {
		t.Errorf("after the upgrade: %s", got)
	}
	m.keeps("/etc/capd/capd.toml", text)
	m.record(500)

	m.lab.Run(t, "dpkg", "--remove", "capd")
	m.keeps("/etc/capd/capd.toml", text)
	files := m.captures()
	if m.property("ActiveState") == "active" {
		t.Error("capd runs after it was removed")
	}
	m.complete()

	if out := m.lab.Run(t, "dpkg", "--purge", "capd"); !strings.Contains(out, "captures stay in "+state) {
		t.Errorf("purge says nothing of the captures: %s", out)
	}
	if _, err := os.Stat(m.lab.Path("/etc/capd")); !os.IsNotExist(err) {
		t.Errorf("purge leaves the configuration: %v", err)
	}
	if after := m.captures(); after != files {
		t.Errorf("before the purge %s, and then %s", files, after)
	}
}

// testInstallRPM: rpm calls scripts with other arguments than dpkg does. The lab is based on the
// system on which the tests run.
func testInstallRPM(m *machine, rpms []string) {
	t := m.T
	rpm := []string{"rpm", "--nodeps"} // rpm does not know the packages that dpkg has installed
	if _, err := exec.LookPath("dpkg"); err == nil {
		rpm = append(rpm, "--force-debian")
	}
	run := func(args ...string) string { return m.lab.Run(t, append(slices.Clip(rpm), args...)...) }

	run("-i", rpms[0])
	m.installed()
	text := m.configure()
	m.lab.Run(t, "systemctl", "start", "capd")
	m.record(500)

	m.upgrade(append(slices.Clip(rpm), "-U", rpms[1])...)
	if got := m.lab.Run(t, "rpm", "-q", "--qf", "%{VERSION}", "capd"); got != "99.0.0" {
		t.Errorf("after the upgrade: %s", got)
	}
	m.keeps("/etc/capd/capd.toml", text)
	m.record(500)

	run("-e", "capd")
	m.keeps("/etc/capd/capd.toml.rpmsave", text)
	if m.property("ActiveState") == "active" {
		t.Error("capd runs after it was removed")
	}
	if got := m.lab.Run(t, "sh", "-c", "rpm -q capd || true"); !strings.Contains(got, "not installed") {
		t.Errorf("after the removal: %s", got)
	}
	m.captures()
	m.complete()
}

// share copies a package to where the lab can access it.
func (m *machine) share(path string) string {
	m.Helper()
	to := filepath.Join(m.lab.Shared, filepath.Base(path))
	if err := os.WriteFile(to, read(m.T, path), 0o644); err != nil {
		m.Fatal(err)
	}
	return to
}

func (m *machine) property(name string) string {
	m.Helper()
	return m.lab.Run(m.T, "systemctl", "show", "--value", "-p", name, "capd")
}

// installed checks what the package's script has created. The service must not have been started.
func (m *machine) installed() {
	m.Helper()
	if got := m.property("ActiveState"); got != "inactive" {
		m.Errorf("after the installation it is %s", got)
	}
	if got := m.lab.Run(m.T, "stat", "-c", "%U:%G %a", state); got != "capd:capd-read 2750" {
		m.Errorf("%s is %s", state, got)
	}
	m.lab.Run(m.T, "test", "-s", "/usr/share/bash-completion/completions/capd")
	if got := m.lab.Run(m.T, "man", "-w", "capd.toml"); !strings.HasSuffix(got, "/capd.toml.5.gz") {
		m.Errorf("man finds %s", got)
	}
}

// configure edits the configuration like an operator.
func (m *machine) configure() string {
	m.Helper()
	shipped := string(read(m.T, m.lab.Path("/etc/capd/capd.toml")))
	// Use many small blocks: traffic uses up a block every 20 ms, and the ring must be sufficient
	// while a busy machine does other things.
	text := "ring_size = \"16MiB\"\nblock_size = \"16KiB\"\nsnaplen = 2000\nflush_interval = \"20ms\"\nblock_timeout = \"20ms\"\n" + shipped
	m.lab.Write(m.T, "/etc/capd/capd.toml", text, 0o644)
	m.lab.Run(m.T, "capd", "check")
	return text
}

func (m *machine) keeps(name, text string) {
	m.Helper()
	if got := string(read(m.T, m.lab.Path(name))); got != text {
		m.Errorf("%s is now:\n%s", name, got)
	}
}

// upgrade upgrades the package while frames arrive. The running service is restarted.
func (m *machine) upgrade(command ...string) {
	m.Helper()
	before := m.property("MainPID")
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				if err := m.frame(); err != nil {
					m.Error(err)
					return
				}
			}
		}
	}()
	out, err := m.lab.Command(command...).CombinedOutput()
	close(stop)
	<-stopped
	if err != nil {
		m.Fatalf("%q: %v\n%s", command, err, out)
	}
	if now := m.property("MainPID"); now == before || now == "0" {
		m.Errorf("main process %s, and %s after the upgrade", before, now)
	}
}

// frame sends a frame with the next number.
func (m *machine) frame() error {
	frame := make([]byte, 60)
	binary.BigEndian.PutUint16(frame[12:], 0x88b5) // experimental EtherType
	m.sent++
	binary.BigEndian.PutUint32(frame[14:], m.sent)
	_, err := m.send.Write(frame)
	return err
}

// record sends frames and waits until they are in the files.
func (m *machine) record(frames int) {
	m.Helper()
	m.lab.Await(m.T, "capd is active", func() bool { return m.property("ActiveState") == "active" })
	first := m.sent + 1
	for range frames {
		if err := m.frame(); err != nil {
			m.Fatal(err)
		}
	}
	m.lab.Await(m.T, fmt.Sprintf("frames from %d on are in the files", first), func() bool {
		all := m.numbers()
		return len(all) >= frames && all[len(all)-frames] == first
	})
}

// numbers returns the numbers of the recorded frames, in order.
func (m *machine) numbers() []uint32 {
	m.Helper()
	var all []uint32
	names, _ := filepath.Glob(m.lab.Path(state + "/eth0-*"))
	for _, name := range names { // sorted by sequence number, and therefore by time
		data, err := os.ReadFile(name)
		if os.IsNotExist(err) { // renamed since the listing
			continue
		}
		rd, err := pcap.NewReader(bytes.NewReader(data))
		if err != nil {
			continue // just created
		}
		for {
			p, err := rd.Next()
			if err != nil {
				break // the end of the file, or a record that is being written
			}
			if len(p.Data) >= 18 && binary.BigEndian.Uint16(p.Data[12:]) == 0x88b5 {
				all = append(all, binary.BigEndian.Uint32(p.Data[14:]))
			}
		}
	}
	return all
}

// complete checks that every file is finished, and that every frame was recorded once, over the
// upgrade too. The ledger has a line of that restart, and nothing is missing.
func (m *machine) complete() {
	m.Helper()
	next := uint32(1)
	for _, n := range m.numbers() {
		if n != next {
			m.Fatalf("number %d comes after %d", n, next-1)
		}
		next++
	}
	if next != m.sent+1 {
		m.Errorf("the last number is %d of %d", next-1, m.sent)
	}
	names, _ := filepath.Glob(m.lab.Path(state + "/*" + store.Partial))
	if len(names) > 0 {
		m.Errorf("not finished: %q", names)
	}
	restarts := 0
	for e, err := range ledger.Read(m.lab.Path(state), nil) {
		switch {
		case err != nil, e.Kind == ledger.KindGap, e.Kind == ledger.KindRestart && e.Why != "":
			m.Errorf("%+v, %v", e, err)
		case e.Kind == ledger.KindRestart:
			restarts++
			m.Logf("no frame was read for %v", e.End.Sub(e.Begin))
		}
	}
	verdicts, err := ledger.Judge(ledger.Read(m.lab.Path(state), nil), ledger.Question{Interface: "eth0"})
	if err != nil || len(verdicts) != 1 || verdicts[0].Outcome() != ledger.Complete || restarts != 1 {
		m.Errorf("%d restarts, %+v, %v", restarts, verdicts, err)
	}
}

// captures returns a list of the recorded files with their checksums.
func (m *machine) captures() string {
	m.Helper()
	return m.lab.Run(m.T, "sh", "-c", "cd "+state+" && sha256sum eth0-* ledger.jsonl")
}
