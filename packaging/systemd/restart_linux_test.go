package systemd_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"capd/ledger"
)

// restartSettings are those of an interface whose frames are to outlast restarts: the ring has many small
// blocks, of which traffic uses up one every 20 ms.
const restartSettings = `
directory = %q
ring_size = "32MiB"
block_size = "16KiB"
snaplen = 2000
pool_size = "2MiB"
chunk_size = "512KiB"
flush_interval = "20ms"
block_timeout = "20ms"
stop_timeout = "5s"
%s
[[interface]]
name = "v%s"
`

// restartable creates a configuration for capd@NAME, which records vNAME, and starts it. It returns
// the unit, the directory of captures, and where frames are sent.
func (r *rig) restartable(name, more string, dropins ...string) (unit, dir string, send *os.File) {
	r.Helper()
	r.lab.Veth(r.T, "v"+name+"-", "v"+name)
	unit, dir = r.instance(name, "", dropins...)
	r.lab.Write(r.T, "/etc/capd/"+name+".toml", fmt.Sprintf(restartSettings, dir, more, name), 0o644)
	r.sh("systemctl start %s", unit)
	send = r.lab.Sender(r.T, "v"+name+"-")
	r.recorded(send, dir, "before")
	return unit, dir, send
}

// nothingLost checks that every frame is in one file, and that the ledger has that many restarts, over
// none of which a frame is missing. It returns the times of these in which no frame was read.
func (r *rig) nothingLost(dir string, sent uint64, restarts int) []time.Duration {
	r.Helper()
	r.once(dir, sent)
	path := r.lab.Path(dir)
	var took []time.Duration
	for e := range ledger.Read(path, nil) {
		switch {
		case e.Kind == ledger.KindGap, e.Kind == ledger.KindRestart && e.Why != "":
			r.Errorf("%+v", e)
		case e.Kind == ledger.KindRestart:
			took = append(took, e.End.Sub(e.Begin))
		}
	}
	if len(took) != restarts {
		r.Errorf("the ledger has %d restarts of %d", len(took), restarts)
	}
	verdicts, err := ledger.Judge(ledger.Read(path, nil), ledger.Question{})
	if err != nil || len(verdicts) != 1 || verdicts[0].Outcome() != ledger.Complete {
		r.Errorf("%+v, %v", verdicts, err)
	}
	slices.Sort(took)
	r.Logf("not read: %v", took)
	return took
}

// testRestarts: however capd ends and is started again, no frame is lost or recorded twice.
func testRestarts(r *rig) {
	unit, dir, send := r.restartable("again", "rotate_interval = \"1s\"\nrotate_size = \"1MiB\"")
	c := r.count(send)
	crashes := 0
	crash := func(command string) func() {
		return func() {
			r.sh(command, unit)
			crashes++
			r.lab.Await(r.T, unit+" is started again", func() bool {
				return r.number(unit, "NRestarts") >= crashes && r.property(unit, "ActiveState") == "active"
			})
		}
	}
	restart := func() {
		r.sh("systemctl restart %s", unit)
		crashes = 0
	}
	steps := []func(){
		restart,
		crash("systemctl kill --kill-whom=main -s KILL %s"),
		crash("systemctl kill --kill-whom=main -s ABRT %s"), // by the watchdog
		crash("systemctl kill --kill-whom=all -s KILL %s"),  // when memory runs out
		func() { // into a new binary
			r.sh("cp /usr/bin/capd /usr/bin/capd.new && mv /usr/bin/capd.new /usr/bin/capd && systemctl daemon-reload")
			restart()
		},
		func() { // without any privilege
			r.lab.Write(r.T, "/run/systemd/system/"+unit+".d/none.conf", "[Service]\nAmbientCapabilities=\nCapabilityBoundingSet=\n", 0o644)
			r.sh("systemctl daemon-reload")
			restart()
			if caps := r.sh("grep -E 'Cap(Prm|Eff|Bnd)' /proc/%s/status", r.property(unit, "MainPID")); strings.Count(caps, "\t0000000000000000") != 3 {
				r.Errorf("it has privileges:\n%s", caps)
			}
		},
		crash("systemctl kill --kill-whom=main -s KILL %s"),
	}
	for n, step := range steps {
		step()
		r.recorded(send, dir, fmt.Sprintf("step%d.", n))
	}
	sent := c.end()
	r.sh("systemctl stop %s", unit)
	r.nothingLost(dir, sent, len(steps))
}

// testReexec: systemd itself is replaced, and keeps the descriptors. It must not run beside other tests,
// for it closes their connections to systemd.
func testReexec(r *rig) {
	unit, dir, send := r.restartable("reexec", "")
	c := r.count(send)
	_ = r.lab.Command("systemctl", "daemon-reexec").Run() // the connection may be closed first
	r.lab.Await(r.T, "systemd", func() bool {
		return r.lab.Command("systemctl", "kill", "--kill-whom=main", "-s", "KILL", unit).Run() == nil
	})
	r.lab.Await(r.T, unit+" is started again", func() bool { return r.number(unit, "NRestarts") == 1 })
	r.recorded(send, dir, "after")
	r.sh("systemctl restart %s", unit)
	r.recorded(send, dir, "at the end")
	sent := c.end()
	r.sh("systemctl stop %s", unit)
	r.nothingLost(dir, sent, 2)
}

// testStopAndStart: what comes between a stop and a start is recorded if systemd keeps descriptors
// meanwhile, and otherwise the ledger has the gap. systemd forgets a unit, with its descriptors, that is neither active nor
// enabled.
func testStopAndStart(r *rig) {
	unit, dir, send := r.restartable("pause", "")
	r.sh("systemctl enable %s", unit)
	keeps := r.property(unit, "FileDescriptorStorePreserve") == "yes" // empty before version 254
	c := r.count(send)
	r.sh("systemctl stop %s", unit)
	r.sh("systemctl start %s", unit)
	r.recorded(send, dir, "after")
	sent := c.end()
	r.sh("systemctl stop %s", unit)
	if keeps {
		r.nothingLost(dir, sent, 1)
		return
	}
	r.allFinished(r.lab.Path(dir))
	verdicts, err := ledger.Judge(ledger.Read(r.lab.Path(dir), nil), ledger.Question{})
	if err != nil || len(verdicts) != 1 || verdicts[0].Outcome() == ledger.Complete {
		r.Errorf("%+v, %v", verdicts, err)
	}
	for _, m := range verdicts[0].Missing {
		if m.Cause != ledger.CauseStopped {
			r.Errorf("%+v", m)
		}
	}
}

// testRestartWithHook: a hook that runs delays a restart, and capd records meanwhile.
func testRestartWithHook(r *rig) {
	const hook = "/usr/lib/capd-slow-hook"
	r.lab.Write(r.T, hook, "#!/bin/sh\ntouch $CAPD_FILE.hook\nexec sleep 3600\n", 0o755)
	unit, dir, send := r.restartable("hook", "rotate_interval = \"1s\"\n[finished]\nhook = [\""+hook+"\"]")
	c := r.count(send)
	r.lab.Await(r.T, "the hook", func() bool { return strings.Contains(r.sh("ls %s", dir), ".hook") })
	r.sh("systemctl restart %s", unit)
	r.recorded(send, dir, "after")
	sent := c.end()
	r.sh("systemctl stop %s; rm %s/*.hook", unit, dir)
	if took := r.nothingLost(dir, sent, 1); len(took) > 0 && took[0] > 4*time.Second {
		r.Errorf("no frame was read for %v", took[0])
	}
}

// testNoRoom: capd says so if systemd keeps too few of its descriptors, and that nothing will be lost if there is room.
func testNoRoom(r *rig) {
	const socket = "/run/capd-room/capd.sock"
	unit, dir, send := r.restartable("room", "", "FileDescriptorStoreMax=2")
	status := func() string { return r.sh("capd status --socket %s || true", socket) }
	const warning = "a restart of capd will cost frames"
	log := func() string { return r.sh("journalctl -u %s --no-pager -o cat", unit) }
	r.lab.Await(r.T, "a warning", func() bool { return strings.Contains(log(), warning) })
	r.lab.Await(r.T, "status", func() bool { return strings.HasSuffix(r.property(unit, "StatusText"), "; a restart will cost frames") })
	if s := status(); !strings.Contains(s, "\na restart loses frames: the service manager keeps too few") {
		r.Error(s)
	}
	r.sh("systemctl restart %s", unit)
	r.recorded(send, dir, "after")
	r.sh("systemctl stop %s", unit)
	r.allFinished(r.lab.Path(dir))

	r.lab.Write(r.T, "/run/systemd/system/"+unit+".d/test.conf", "", 0o644)
	r.sh("systemctl daemon-reload; systemctl start %s", unit)
	r.lab.Await(r.T, "status", func() bool { return strings.Contains(r.property(unit, "StatusText"), "packets/s") })
	if status := r.property(unit, "StatusText"); strings.Contains(status, "restart") {
		r.Error(status)
	}
	r.lab.Await(r.T, "the good news", func() bool { return strings.Contains(status(), "\na restart loses no frame\n") })
	r.sh("systemctl stop %s", unit)
}

// goesOn awaits the unit's start after a crash, and checks that no frame is lost or recorded twice over it.
func (r *rig) goesOn(unit, dir string, send *os.File, c *count) {
	r.Helper()
	r.lab.Await(r.T, unit+" is started again", func() bool {
		return r.number(unit, "NRestarts") >= 1 && r.property(unit, "ActiveState") == "active"
	})
	r.recorded(send, dir, "after")
	sent := c.end()
	r.sh("systemctl stop %s", unit)
	r.nothingLost(dir, sent, 1)
}

// testWatchdog: the watchdog ends a capd whose loop hangs, and the next one goes on.
func testWatchdog(r *rig) {
	unit, dir, send := r.restartable("dog", "", "WatchdogSec=2s", "ExecStart=", "ExecStart=/usr/bin/capd-hang run -c /etc/capd/dog.toml", "Environment=CAPD_HANG=/etc/capd/hangs")
	c := r.count(send)
	r.lab.Write(r.T, "/etc/capd/hangs/vdog", "", 0o644)
	r.lab.Await(r.T, "the watchdog", func() bool { return strings.Contains(r.sh("journalctl -u %s --no-pager", unit), "Watchdog timeout") })
	r.sh("rm /etc/capd/hangs/vdog")
	r.goesOn(unit, dir, send, c)
}

// testOutOfMemory: the kernel kills a capd for want of memory, and the next one goes on. The group of processes whose memory
// is short is one of cgroups version 1, which a machine may not have.
func testOutOfMemory(r *rig) {
	const group = "/run/memory/capd-test"
	if err := r.lab.Command("sh", "-ec", "mkdir -p /run/memory; mount -t cgroup -o memory none /run/memory; mkdir "+group+"; echo 8M >"+group+"/memory.limit_in_bytes").Run(); err != nil {
		r.Skip("needs cgroups version 1 for memory")
	}
	unit, dir, send := r.restartable("oom", "")
	c := r.count(send)
	r.sh("echo %s >%s/cgroup.procs", r.property(unit, "MainPID"), group)
	// Of the two, the kernel may kill capd only.
	hog := r.lab.Command("sh", "-c", "echo $$ >/run/hog.pid; echo -1000 >/proc/self/oom_score_adj; echo $$ >"+group+"/cgroup.procs; exec tail /dev/zero")
	if err := hog.Start(); err != nil {
		r.Fatal(err)
	}
	r.lab.Await(r.T, "the kernel to kill", func() bool { return r.number(unit, "NRestarts") >= 1 })
	_ = r.lab.Command("sh", "-c", "kill -9 $(cat /run/hog.pid)").Run() // it may have been killed, too, by then
	_ = hog.Wait()
	r.goesOn(unit, dir, send, c)
	if killed := r.sh("grep -w oom_kill %s/memory.oom_control", group); strings.HasSuffix(killed, " 0") {
		r.Errorf("not for want of memory: %s", killed)
	}
	r.lab.Await(r.T, "an empty group", func() bool { return r.lab.Command("rmdir", group).Run() == nil })
	r.sh("umount /run/memory")
}

func testKill(r *rig) {
	r.lab.Veth(r.T, "vkill-", "vkill")
	unit, dir := r.instance("kill", "")
	r.sh("systemctl start %s", unit)
	send := r.lab.Sender(r.T, "vkill-")
	for n := range 3 {
		r.recorded(send, dir, fmt.Sprintf("round%d", n))
		r.sh("systemctl kill --kill-whom=main -s KILL %s", unit)
		r.restarted(unit, dir, n, send)
	}
}
