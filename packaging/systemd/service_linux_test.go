// Package systemd_test runs capd under a real systemd.
package systemd_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"capd/internal/testsystemd"
	"capd/ledger"
	"capd/store"
)

// A rig is a lab with capd installed.
type rig struct {
	*testing.T
	lab *testsystemd.Lab
}

// with returns the rig for a subtest.
func (r *rig) with(t *testing.T) *rig { return &rig{t, r.lab} }

// install builds capd and installs files like the packages.
func install(t *testing.T) *rig {
	t.Helper()
	r := &rig{t, testsystemd.Boot(t)}
	for name, tags := range map[string]string{"capd": "", "capd-hang": "capd_hang"} {
		build := exec.Command("go", "build", "-trimpath", "-tags", tags, "-o", filepath.Join(r.lab.Shared, name), "../../cmd/capd")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		r.sh("cp %s /usr/bin/", filepath.Join(r.lab.Shared, name))
	}
	for from, to := range map[string]string{
		"capd.service":        "/usr/lib/systemd/system/capd.service",
		"capd@.service":       "/usr/lib/systemd/system/capd@.service",
		"capd-metrics.socket": "/usr/lib/systemd/system/capd-metrics.socket",
		"capd.sysusers":       "/usr/lib/sysusers.d/capd.conf",
		"capd.tmpfiles":       "/usr/lib/tmpfiles.d/capd.conf",
	} {
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		r.lab.Write(t, to, string(text), 0o644)
	}
	r.sh("systemd-sysusers && systemd-tmpfiles --create capd.conf && systemctl daemon-reload")
	return r
}

// sh runs a shell command in the lab.
func (r *rig) sh(line string, args ...any) string {
	r.Helper()
	return r.lab.Run(r.T, "sh", "-ec", fmt.Sprintf(line, args...))
}

const settings = `
directory = %q
ring_size = "32MiB"
pool_size = "2MiB"
chunk_size = "512KiB"
flush_interval = "20ms"
block_timeout = "20ms"
%s
[[interface]]
name = %q
`

// instance creates a configuration and drop-ins for capd@NAME, which records vNAME. It returns the
// unit and the directory of captures.
func (r *rig) instance(name, extra string, dropins ...string) (unit, dir string) {
	r.Helper()
	dir = "/var/lib/capd/" + name
	r.lab.Write(r.T, "/etc/capd/"+name+".toml", fmt.Sprintf(settings, dir, extra, "v"+name), 0o644)
	unit = "capd@" + name + ".service"
	if len(dropins) > 0 {
		r.lab.Write(r.T, "/run/systemd/system/"+unit+".d/test.conf", "[Service]\n"+strings.Join(dropins, "\n")+"\n", 0o644)
		r.sh("systemctl daemon-reload")
	}
	r.Cleanup(func() {
		if r.Failed() {
			r.Log(r.sh("journalctl -u %s --no-pager -n 50; systemctl status --no-pager %s || true", unit, unit))
		}
	})
	return unit, dir
}

func (r *rig) property(unit, name string) string {
	r.Helper()
	return r.lab.Run(r.T, "systemctl", "show", "--value", "-p", name, unit)
}

func (r *rig) number(unit, name string) int {
	r.Helper()
	n, err := strconv.Atoi(r.property(unit, name))
	if err != nil {
		r.Fatal(err)
	}
	return n
}

// frame returns a frame that contains the text and has an experimental type.
func frame(text string, size int) []byte {
	f := make([]byte, max(size, 14+len(text)))
	f[12], f[13] = 0x88, 0xb5
	copy(f[14:], text)
	return f
}

// recorded sends a frame with the text repeatedly until a file contains it.
func (r *rig) recorded(send *os.File, dir, text string) {
	r.Helper()
	r.lab.Await(r.T, text+" is in a file", func() bool {
		_, _ = send.Write(frame(text, 60))
		return r.holds(dir, text)
	})
}

func (r *rig) holds(dir, text string) bool {
	entries, _ := os.ReadDir(r.lab.Path(dir))
	for _, e := range entries {
		data, _ := os.ReadFile(filepath.Join(r.lab.Path(dir), e.Name()))
		if bytes.Contains(data, []byte(text)) {
			return true
		}
	}
	return false
}

// restarted waits until the unit was started again and records.
func (r *rig) restarted(unit, dir string, before int, send *os.File) {
	r.Helper()
	r.lab.Await(r.T, unit+" is started again", func() bool { return r.number(unit, "NRestarts") > before })
	r.recorded(send, dir, "again"+strconv.Itoa(before))
}

// allFinished fails the test if a file is not whole, or if the ledger has a loss.
func (r *rig) allFinished(path string) {
	r.Helper()
	c, err := store.ReadContents(path)
	if err != nil || len(c.Partials) > 0 || c.Files == 0 {
		r.Errorf("%s: %+v, %v", path, c, err)
	}
	for e, err := range ledger.Read(path, nil) {
		if err != nil || e.Kind == ledger.KindFile && (!e.Clean || e.Received != e.Packets+e.KernelDropped+e.CapdDropped) {
			r.Errorf("%+v, %v", e, err)
		}
	}
}

// TestService tests capd as a service. The subtests run in parallel in one lab.
func TestService(t *testing.T) {
	r := install(t)
	t.Run("parts", func(t *testing.T) {
		for name, part := range map[string]func(*rig){
			"start": testStart, "stopped process": testStoppedProcess, "hung loop": testHungLoop, "stalled disk": testStalledDisk,
			"kill": testKill, "late interface": testLateInterface, "interface comes and goes": testFlap,
			"interface is renamed": testRenamed, "reload under load": testReloadUnderLoad,
			"stop under load": testStopUnderLoad, "metrics": testMetrics, "sandbox": testSandbox, "user": testUser, "new disk": testNewDisk, "by hand": testByHand,
			"restarts": testRestarts, "stop and start": testStopAndStart, "restart with a hook": testRestartWithHook, "no room": testNoRoom,
			"watchdog": testWatchdog, "out of memory": testOutOfMemory, "documented options": testDocumented,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				part(r.with(t))
			})
		}
	})
	t.Run("reexec", func(t *testing.T) { testReexec(r.with(t)) })
	t.Run("power off", func(t *testing.T) { testPowerOff(r.with(t)) })
}

// testStart tests the unit without drop-ins, and the output of systemctl.
func testStart(r *rig) {
	r.lab.Veth(r.T, "w0", "w1")
	r.lab.Write(r.T, "/etc/capd/capd.toml", "ring_size = \"32MiB\"\n[[interface]]\nname = \"w1\"\n", 0o644)
	r.sh("systemctl start capd")
	const dir = "/var/lib/capd"
	r.recorded(r.lab.Sender(r.T, "w0"), dir, "hello")
	r.lab.Await(r.T, "status", func() bool { return strings.Contains(r.property("capd", "StatusText"), "packets/s") })
	status := r.lab.Run(r.T, "systemctl", "status", "--no-pager", "capd")
	for _, want := range []string{
		`Packet recorder`, `Active: active \(running\)`, `Status: "w1 recording; [\d.]+.? packets/s, [\d.]+ .?bit/s; lost 0 of \d+ packets"`,
		`capd\[\d+\]: recording interface=w1 `,
	} {
		if !regexp.MustCompile(want).MatchString(status) {
			r.Errorf("no %s in\n%s", want, status)
		}
	}
	if pid := r.number("capd", "MainPID"); pid > 0 {
		r.confined(pid, r.lab.Run(r.T, "id", "-u", "capd"))
		r.relaxed(pid)
		if files := r.sh("ls -l /proc/%d/fd", pid); !strings.Contains(files, "/memfd:capd") {
			r.Errorf("the memory of frames is in no memfd:\n%s", files)
		}
	}
	r.group(dir)
	r.security()
	r.reload(dir)
	r.sh("systemctl stop capd")
	r.allFinished(r.lab.Path(dir))
	r.journal()
}

// reload: a valid configuration is applied at once, and the current file continues. An invalid one
// changes nothing, and systemctl reports it.
func (r *rig) reload(dir string) {
	r.Helper()
	before := r.partial(dir)
	r.lab.Write(r.T, "/etc/capd/capd.toml", "ring_size = \"32MiB\"\nrotate_size = \"5MiB\"\n[[interface]]\nname = \"w1\"\n", 0o644)
	r.sh("systemctl reload capd")
	if after := r.partial(dir); after != before {
		r.Errorf("from %s to %s", before, after)
	}
	r.lab.Write(r.T, "/etc/capd/capd.toml", "rign_size = \"4MiB\"\n[[interface]]\nname = \"w1\"\n", 0o644)
	if out, err := r.lab.Command("systemctl", "reload", "capd").CombinedOutput(); err == nil {
		r.Errorf("a bad configuration was taken: %s", out)
	}
	r.recorded(r.lab.Sender(r.T, "w0"), dir, "after the reload")
}

// partial returns the name of the only file that is being written.
func (r *rig) partial(dir string) string {
	r.Helper()
	c, err := store.ReadContents(r.lab.Path(dir))
	if err != nil || len(c.Partials) != 1 {
		r.Errorf("%+v, %v", c, err)
		return ""
	}
	return c.Partials[0]
}

// confined checks every thread of the process. pid is its number in the lab.
func (r *rig) confined(pid int, uid string) {
	r.Helper()
	text := r.sh("cat /proc/%d/task/*/status", pid)
	for _, want := range []string{"CapPrm:\t0000000000002000", "CapEff:\t0000000000002000", "CapAmb:\t0000000000000000", "NoNewPrivs:\t1", "Uid:\t" + uid + "\t" + uid} {
		if n := strings.Count(text, want); n == 0 || n != strings.Count(text, "\nTgid:") {
			r.Errorf("%d threads of %d have %s", n, strings.Count(text, "\nTgid:"), want)
		}
	}
}

// relaxed checks the timer slack of every thread.
func (r *rig) relaxed(pid int) {
	r.Helper()
	if got := r.sh("for t in /proc/%d/task/*; do cat /proc/${t##*/}/timerslack_ns; done | sort -u", pid); strings.TrimSpace(got) != "1000000" {
		r.Errorf("timer slack is %q", got)
	}
}

// group: members of capd-read may read captures, other users may not.
func (r *rig) group(dir string) {
	r.Helper()
	read := "setpriv --reuid=nobody --regid=nogroup --groups=%s cat " + dir + "/*.partial " + dir + "/ledger.jsonl"
	r.sh("chmod o+x /var/lib; "+read, "capd-read")
	if out, err := r.lab.Command("sh", "-c", fmt.Sprintf(read, "nogroup")).CombinedOutput(); err == nil {
		r.Errorf("others may read: %s", out)
	}
}

// security checks systemd's rating of the sandbox.
func (r *rig) security() {
	r.Helper()
	for _, unit := range []string{"capd.service", "capd@x.service"} {
		out := r.sh("systemd-analyze security --no-pager %s", unit)
		figure := regexp.MustCompile(`exposure level for \S+: ([\d.]+)`).FindStringSubmatch(out)
		if figure == nil {
			r.Fatalf("no figure in %s", out)
		}
		r.Logf("%s: %s", unit, figure[1])
		if n, err := strconv.ParseFloat(figure[1], 64); err != nil || n > 1.5 {
			r.Errorf("%s: %s\n%s", unit, figure[1], out)
		}
	}
}

// journal checks that each event is in the journal, with its priority and interface, and that there
// are no warnings. Four warnings of systemd are ignored: about the type of the unit (before
// version 253), about FileDescriptorStorePreserve (before version 254), about the reload that had to fail, and about a control group that was gone when it
// was to be killed. So is capd's own about that reload, which it gives if systemd sends a signal too (from version 253 on).
func (r *rig) journal() {
	r.Helper()
	type entry struct{ MESSAGE, PRIORITY, INTERFACE, SYSLOG_IDENTIFIER string }
	var messages []string
	for line := range strings.Lines(r.sh("journalctl -u capd -o json --no-pager")) {
		var e entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			r.Fatal(err)
		}
		expected := strings.Contains(e.MESSAGE, "notify-reload") || strings.Contains(e.MESSAGE, "FileDescriptorStorePreserve") ||
			strings.HasPrefix(e.MESSAGE, "Reload failed for") || strings.Contains(e.MESSAGE, "rign_size: unknown key") || strings.Contains(e.MESSAGE, "Failed to kill control group")
		if e.PRIORITY < "5" && !expected || e.SYSLOG_IDENTIFIER == "capd" && strings.Contains(e.MESSAGE, "level=") {
			r.Errorf("%+v", e)
		}
		if e.INTERFACE == "w1" {
			messages = append(messages, e.MESSAGE)
		}
	}
	if len(messages) != 1 || !strings.HasPrefix(messages[0], "recording interface=w1 directory=") {
		r.Errorf("of w1: %q", messages)
	}
}

func testStoppedProcess(r *rig) {
	r.lab.Veth(r.T, "vsigstop-", "vsigstop")
	unit, dir := r.instance("sigstop", "", "WatchdogSec=2s")
	r.sh("systemctl start %s", unit)
	send := r.lab.Sender(r.T, "vsigstop-")
	r.recorded(send, dir, "before")
	r.sh("systemctl kill --kill-whom=main -s STOP %s", unit)
	r.restarted(unit, dir, 0, send)
	if log := r.sh("journalctl -u %s --no-pager", unit); !strings.Contains(log, "Watchdog timeout") {
		r.Errorf("not by the watchdog:\n%s", log)
	}
}

// testHungLoop: the process works, except for one recorder's loop.
func testHungLoop(r *rig) {
	r.lab.Veth(r.T, "vhang-", "vhang")
	unit, dir := r.instance("hang", "", "WatchdogSec=2s", "ExecStart=", "ExecStart=/usr/bin/capd-hang run -c /etc/capd/hang.toml", "Environment=CAPD_HANG=/etc/capd/hung")
	r.sh("systemctl start %s", unit)
	send := r.lab.Sender(r.T, "vhang-")
	r.recorded(send, dir, "before")
	r.lab.Write(r.T, "/etc/capd/hung/vhang", "", 0o644)
	r.lab.Await(r.T, "the watchdog", func() bool { return strings.Contains(r.sh("journalctl -u %s --no-pager", unit), "Watchdog timeout") })
	r.sh("rm /etc/capd/hung/vhang")
	r.restarted(unit, dir, 0, send)
	if log := r.sh("journalctl -u %s --no-pager -p err", unit); !strings.Contains(log, "interface vhang: the recorder has not turned for ") {
		r.Errorf("it does not say why:\n%s", log)
	}
}

// stall is how long the disk blocks.
const stall = 20 * time.Second

// testStalledDisk: the watchdog does not restart capd if the disk blocks for longer than its
// timeout while frames arrive and the recorder waits for memory.
func testStalledDisk(r *rig) {
	const dir = "/srv/stall"
	r.lab.Veth(r.T, "vstall-", "vstall")
	r.sh("truncate -s 128M %[1]s/stall.img && mkfs.ext4 -q %[1]s/stall.img && mkdir -p %[2]s && mount -o loop %[1]s/stall.img %[2]s && chown capd:capd-read %[2]s", r.lab.Shared, dir)
	unit, _ := r.instance("stall", "", "WatchdogSec=3s", "ReadWritePaths="+dir)
	// Traffic uses up a block of the ring every 20 ms, however little there is. Many blocks are
	// sufficient while the recorder waits.
	text := fmt.Sprintf(settings, dir, "snaplen = 2000\nblock_size = \"16KiB\"", "vstall")
	r.lab.Write(r.T, "/etc/capd/stall.toml", text, 0o644)
	r.sh("systemctl start %s", unit)
	send := r.lab.Sender(r.T, "vstall-")
	r.recorded(send, dir, "before")
	thaw := time.Now().Add(stall)
	r.sh("fsfreeze --freeze %s", dir)
	for time.Now().Before(thaw) { // more than the memory for frames holds, less than that and the ring hold
		for n := 0; n < 30; n++ {
			_, _ = send.Write(frame("stalled", 1000))
		}
		time.Sleep(200 * time.Millisecond)
	}
	r.sh("fsfreeze --unfreeze %s", dir)
	r.recorded(send, dir, "after")
	if n := r.number(unit, "NRestarts"); n != 0 {
		r.Errorf("restarted %d times:\n%s", n, r.sh("journalctl -u %s --no-pager", unit))
	}
	r.sh("systemctl stop %s", unit)
	r.allFinished(r.lab.Path(dir))
	for e := range ledger.Read(r.lab.Path(dir), nil) {
		if e.KernelDropped+e.CapdDropped > 0 {
			r.Errorf("lost: %+v", e)
		}
	}
	r.sh("umount %s", dir)
}

// testLateInterface: capd is ready when it waits for an interface that does not exist yet.
func testLateInterface(r *rig) {
	unit, dir := r.instance("late", "")
	r.sh("systemctl start %s", unit)
	if state := r.property(unit, "ActiveState"); state != "active" {
		r.Error(state)
	}
	r.lab.Await(r.T, "status", func() bool { return strings.HasPrefix(r.property(unit, "StatusText"), "vlate waiting;") })
	r.lab.Veth(r.T, "vlate-", "vlate")
	r.recorded(r.lab.Sender(r.T, "vlate-"), dir, "late")
}

// testFlap: inside the sandbox, an interface is opened again each time it is created again.
func testFlap(r *rig) {
	unit, dir := r.instance("flap", "rotate_size = 0\nwait = true")
	r.sh("systemctl start %s", unit)
	for n := range 50 {
		r.lab.Veth(r.T, "vflap-", "vflap")
		send := r.lab.Sender(r.T, "vflap-")
		r.recorded(send, dir, fmt.Sprintf("flap%d.", n))
		r.sh("ip link delete vflap")
	}
	if n := r.number(unit, "NRestarts"); n != 0 {
		r.Errorf("restarted %d times", n)
	}
}

// load sends frames until the end of the test.
func (r *rig) load(send *os.File) {
	ended := make(chan struct{})
	stop := make(chan struct{})
	go func() {
		defer close(ended)
		for f := frame("load", 1400); ; {
			select {
			case <-stop:
				return
			default:
				_, _ = send.Write(f)
			}
		}
	}()
	r.Cleanup(func() { close(stop); <-ended })
}

func testStopUnderLoad(r *rig) {
	r.lab.Veth(r.T, "vload-", "vload")
	unit, dir := r.instance("load", `rotate_size = "1MiB"`)
	r.sh("systemctl start %s", unit)
	send := r.lab.Sender(r.T, "vload-")
	r.recorded(send, dir, "before")
	r.load(send)
	r.lab.Await(r.T, "files", func() bool {
		c, err := store.ReadContents(r.lab.Path(dir))
		return err == nil && c.Files > 20
	})
	r.sh("systemctl stop %s", unit)
	if result := r.property(unit, "Result"); result != "success" {
		r.Error(result)
	}
	r.allFinished(r.lab.Path(dir))
}

// attempts tries to write to many places and reports the results.
const attempts = `#!/bin/sh
exec 2>&1
cd /
for place in /etc/capd /etc /usr/bin /var/lib /var/lib/other /root /home /run /boot /opt /srv /dev /sys /proc/sys/kernel /dev/shm; do
	if echo x >$place/attempt; then echo "WROTE $place"; fi
done
if echo x >/var/lib/capd/%[1]s/attempt; then echo "wrote into its own"; fi
if ln /usr/bin/capd /var/lib/capd/%[1]s/capd; then echo "WROTE a link"; fi
if mount -t tmpfs x /mnt; then echo "WROTE a mount"; fi
%[2]s
grep -E 'CapEff|NoNewPrivs' /proc/self/status
echo over
`

// testSandbox: programs that capd starts are inside its sandbox.
func testSandbox(r *rig) {
	r.lab.Veth(r.T, "vbox-", "vbox")
	r.sh("mkdir -p -m 1777 /var/lib/other")
	r.lab.Write(r.T, "/usr/lib/capd-attempts", fmt.Sprintf(attempts, "box", `if unshare --user true; then echo "WROTE a namespace"; fi`), 0o755)
	unit, dir := r.instance("box", `rotate_interval = "1s"`)
	text := fmt.Sprintf(settings, dir, `rotate_interval = "1s"`, "vbox") + "[finished]\ncompress = \"zstd\"\nhook = [\"/usr/lib/capd-attempts\"]\n[log]\nlevel = \"debug\"\n"
	r.lab.Write(r.T, "/etc/capd/box.toml", text, 0o644)
	r.sh("systemctl start %s", unit)
	r.tried(func() string { return r.sh("journalctl -u %s --no-pager -o cat", unit) }, r.lab.Sender(r.T, "vbox-"), dir)
	log := r.sh("journalctl -u %s --no-pager -o cat", unit)
	if !regexp.MustCompile(`sandbox landlock=[1-9]\d* capabilities=CAP_NET_RAW`).MatchString(log) {
		r.Errorf("no Landlock in\n%s", log)
	}
	r.sh("systemctl stop %s", unit)
}

// tried waits for the results of attempts, and fails if a forbidden one succeeded.
func (r *rig) tried(log func() string, send *os.File, dir string) {
	r.Helper()
	hook := regexp.MustCompile(`hook ended.*over`)
	var all string
	r.lab.Await(r.T, "the hook", func() bool {
		_, _ = send.Write(frame("x", 60))
		all = log()
		return hook.MatchString(all)
	})
	results := hook.FindString(all)
	for _, want := range []string{"wrote into its own", `CapEff:\t0000000000000000`, `NoNewPrivs:\t1`} {
		if !strings.Contains(results, want) {
			r.Errorf("no %q in %s", want, results)
		}
	}
	if strings.Contains(results, "WROTE") {
		r.Errorf("%s", results)
	}
	if c, err := os.ReadDir(r.lab.Path(dir)); err != nil || !strings.Contains(fmt.Sprint(c), ".pcapng.") {
		r.Errorf("nothing was compressed: %v, %v", c, err)
	}
}

// testUser: started as root without systemd, capd switches to another user, enters the sandbox, and
// can still open interfaces.
func testUser(r *rig) {
	r.lab.Veth(r.T, "vuser-", "vuser")
	r.lab.Write(r.T, "/usr/lib/capd-attempts-user", fmt.Sprintf(attempts, "user", ""), 0o755)
	const dir = "/var/lib/capd/user"
	text := "user = \"capd\"\nsandbox = \"on\"\n" + fmt.Sprintf(settings, dir, `rotate_interval = "1s"`, "vuser") + "[finished]\ncompress = \"gzip\"\nhook = [\"/usr/lib/capd-attempts-user\"]\n[log]\nformat = \"text\"\n"
	r.lab.Write(r.T, "/etc/capd/user.toml", text, 0o644)
	capd := r.lab.Command("capd", "run", "-c", "/etc/capd/user.toml")
	stderr, err := os.Create(filepath.Join(r.TempDir(), "log"))
	if err != nil {
		r.Fatal(err)
	}
	defer stderr.Close()
	capd.Stderr = stderr
	if err := capd.Start(); err != nil {
		r.Fatal(err)
	}
	log := func() string {
		b, _ := os.ReadFile(stderr.Name())
		return string(b)
	}
	r.Cleanup(func() {
		if r.Failed() {
			r.Log(log())
		}
	})
	send := r.lab.Sender(r.T, "vuser-")
	r.recorded(send, dir, "before")
	pid, err := strconv.Atoi(r.sh("pgrep -f '^capd run -c /etc/capd/user.toml'"))
	if err != nil {
		r.Fatal(err)
	}
	r.confined(pid, r.lab.Run(r.T, "id", "-u", "capd"))
	r.tried(log, send, dir)
	for n := range 3 {
		r.sh("ip link delete vuser")
		r.lab.Veth(r.T, "vuser-", "vuser")
		send = r.lab.Sender(r.T, "vuser-")
		r.recorded(send, dir, fmt.Sprintf("again%d.", n))
	}
	r.sh("kill -TERM %d", pid)
	if err := capd.Wait(); err != nil {
		r.Error(err)
	}
	if owner := r.sh("stat -c %%U:%%G %s/ledger.jsonl", dir); owner != "capd:capd-read" {
		r.Error(owner)
	}
}

// testMetrics: in the unit's sandbox a socket that can't be had costs no frame, and
// one that systemd listens on serves.
func testMetrics(r *rig) {
	const address = "127.0.0.1:9470"
	r.lab.Veth(r.T, "vmetrics-", "vmetrics")
	unit, dir := r.instance("metrics", "")
	text := fmt.Sprintf(settings, dir, "", "vmetrics")
	r.lab.Write(r.T, "/etc/capd/metrics.toml", text+"[control]\nmetrics = \""+address+"\"\n", 0o644)
	r.sh("systemctl start %s", unit)
	send := r.lab.Sender(r.T, "vmetrics-")
	r.recorded(send, dir, "without a socket")
	if n := r.number(unit, "NRestarts"); n != 0 {
		r.Errorf("restarted %d times", n)
	}
	if log := r.sh("journalctl -u %s --no-pager -o cat", unit); !strings.Contains(log, "metrics are not served") {
		r.Errorf("nothing is said in\n%s", log)
	}
	r.sh("systemctl stop %s", unit)
	r.lab.Write(r.T, "/etc/capd/metrics.toml", text, 0o644)
	shipped := r.sh("cat /usr/lib/systemd/system/capd-metrics.socket")
	mine := strings.NewReplacer("127.0.0.1:9469", address, "capd.service", unit).Replace(shipped)
	r.lab.Write(r.T, "/run/systemd/system/capd-metrics-test.socket", mine, 0o644)
	r.sh("ip link set lo up && systemctl daemon-reload && systemctl start capd-metrics-test.socket %s", unit)
	r.recorded(send, dir, "with a socket")
	if out := r.sh("curl -sS --max-time 20 http://%s/metrics", address); !strings.Contains(out, "capd_received_packets_total{interface=\"vmetrics\"}") {
		r.Errorf("metrics are %.300s", out)
	}
	r.sh("systemctl stop capd-metrics-test.socket %s", unit)
}

// testPowerOff: a shutdown under load leaves whole files.
func testPowerOff(r *rig) {
	const dir = "/srv/off" // the lab's own disk is deleted with the lab
	outside := filepath.Join(r.lab.Shared, "captures")
	r.lab.Veth(r.T, "voff-", "voff")
	r.sh("mkdir -p %[1]s %[2]s && mount --bind %[1]s %[2]s && chown capd:capd-read %[2]s", outside, dir)
	unit, _ := r.instance("off", "", "ReadWritePaths="+dir)
	r.lab.Write(r.T, "/etc/capd/off.toml", fmt.Sprintf(settings, dir, `rotate_size = "1MiB"`, "voff"), 0o644)
	r.sh("systemctl start %s", unit)
	send := r.lab.Sender(r.T, "voff-")
	r.recorded(send, dir, "before")
	r.load(send)
	_ = r.lab.Command("systemctl", "poweroff").Run() // the connection may be closed first
	r.lab.Ended(r.T)
	r.allFinished(outside)
}
