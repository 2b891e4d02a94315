package packaging_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"capd/internal/testsystemd"
	"capd/pcap"
	"capd/writer"
)

// state is where the packages' configuration records into.
const state = "/var/lib/capd"

// A machine is a lab on which packages are installed.
type machine struct {
	*testing.T
	lab  *testsystemd.Lab
	send *os.File
	sent uint32
}

// TestInstall installs, upgrades, removes and purges the deb on a Debian with a
// real systemd, while it records.
func TestInstall(t *testing.T) {
	m := &machine{T: t, lab: testsystemd.Boot(t)}
	if _, err := os.Stat("/usr/bin/dpkg"); err != nil {
		t.Skip("dpkg is of other systems")
	}
	debs := []string{m.share(build(t, "FORMATS=deb")), m.share(build(t, "FORMATS=deb", "PACKAGE_VERSION="+newer))}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(m.lab.Run(t, "journalctl", "-u", "capd", "--no-pager", "-o", "short-monotonic"))
		}
	})
	m.lab.Run(t, "rm", "-f", "/usr/sbin/policy-rc.d") // of images of containers: it forbids to restart anything
	m.lab.Veth(t, "eth0", "peer")
	m.send = m.lab.Sender(t, "peer")

	m.lab.Run(t, "dpkg", "-i", debs[0])
	m.installed()
	text := m.configure()
	m.lab.Run(t, "systemctl", "start", "capd")
	m.record(500)

	before := m.property("MainPID")
	m.lab.Run(t, "dpkg", "-i", debs[1])
	if now := m.property("MainPID"); now == before || now == "0" {
		t.Errorf("main process %s, and %s after the upgrade", before, now)
	}
	if got := m.lab.Run(t, "dpkg-query", "-W", "-f", "${Version} ${Status}", "capd"); got != "99.0.0 install ok installed" {
		t.Errorf("after the upgrade: %s", got)
	}
	m.keeps("/etc/capd/capd.toml", text)
	m.record(500)

	m.lab.Run(t, "dpkg", "--remove", "capd")
	m.keeps("/etc/capd/capd.toml", text)
	files := m.captures()
	if m.property("ActiveState") == "active" {
		t.Error("it runs after it was removed")
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

// share puts a package where the lab sees it.
func (m *machine) share(p made) string {
	m.Helper()
	to := filepath.Join(m.lab.Shared, filepath.Base(p["deb"]))
	if err := os.WriteFile(to, read(m.T, p["deb"]), 0o644); err != nil {
		m.Fatal(err)
	}
	return to
}

func (m *machine) property(name string) string {
	m.Helper()
	return m.lab.Run(m.T, "systemctl", "show", "--value", "-p", name, "capd")
}

// installed looks at what the maintainer's script made. Nothing has started.
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

// configure edits the configuration as an operator does.
func (m *machine) configure() string {
	m.Helper()
	shipped := string(read(m.T, m.lab.Path("/etc/capd/capd.toml")))
	text := "ring_size = \"4MiB\"\nflush_interval = \"20ms\"\nblock_timeout = \"20ms\"\n" + shipped
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

// record sends frames with numbers, and waits until they are in the files.
func (m *machine) record(frames uint32) {
	m.Helper()
	m.lab.Await(m.T, "capd is active", func() bool { return m.property("ActiveState") == "active" })
	frame := make([]byte, 60)
	binary.BigEndian.PutUint16(frame[12:], 0x88b5) // of no protocol
	for range frames {
		m.sent++
		binary.BigEndian.PutUint32(frame[14:], m.sent)
		if _, err := m.send.Write(frame); err != nil {
			m.Fatal(err)
		}
	}
	m.lab.Await(m.T, fmt.Sprint(m.sent, " frames are in the files"), func() bool { return len(m.numbers()) >= int(m.sent) })
}

// numbers are those of the recorded frames, in order.
func (m *machine) numbers() []uint32 {
	m.Helper()
	var all []uint32
	names, _ := filepath.Glob(m.lab.Path(state + "/eth0-*"))
	for _, name := range names { // in the order of their sequence numbers, whose times are in order too
		data, err := os.ReadFile(name)
		if os.IsNotExist(err) { // renamed meanwhile
			continue
		}
		rd, err := pcap.NewReader(bytes.NewReader(data))
		if err != nil {
			continue // just begun
		}
		for {
			p, err := rd.Next()
			if err != nil {
				break // the end, or a record under way
			}
			if len(p.Data) >= 18 && binary.BigEndian.Uint16(p.Data[12:]) == 0x88b5 {
				all = append(all, binary.BigEndian.Uint32(p.Data[14:]))
			}
		}
	}
	return all
}

// complete: every frame is recorded once, and every file is finished.
func (m *machine) complete() {
	m.Helper()
	got := m.numbers()
	for i, n := range got {
		if n != uint32(i)+1 {
			m.Fatalf("frame %d is number %d", i+1, n)
		}
	}
	if len(got) != int(m.sent) {
		m.Errorf("%d frames of %d", len(got), m.sent)
	}
	names, _ := filepath.Glob(m.lab.Path(state + "/*" + writer.Partial))
	if len(names) > 0 {
		m.Errorf("not finished: %q", names)
	}
}

// captures is the listing of the recorded files with their checksums.
func (m *machine) captures() string {
	m.Helper()
	return m.lab.Run(m.T, "sh", "-c", "cd "+state+" && sha256sum eth0-* ledger.jsonl")
}
