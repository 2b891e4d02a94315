package systemd_test

import (
	"os/exec"
	"strings"
	"time"
)

// testByHand: root checks and records by hand what the service records, while it runs and while it does not. The
// service goes on, and nothing in its directory is root's.
func testByHand(r *rig) {
	unit, dir := r.instance("hand", "log.file = \"/var/lib/capd/hand/capd.log\"")
	r.lab.Veth(r.T, "whand", "vhand")
	send := r.lab.Sender(r.T, "whand")
	const file = "/etc/capd/hand.toml"
	byHand := func(fails bool, want string, args ...string) {
		r.Helper()
		out, err := r.lab.Command(append([]string{"capd"}, args...)...).CombinedOutput()
		if (err != nil) != fails || !strings.Contains(string(out), want) {
			r.Errorf("capd %s: %v, no %q in\n%s", strings.Join(args, " "), err, want, out)
		}
		if strings.Contains(string(out), "two recorders") != fails {
			r.Errorf("capd %s:\n%s", strings.Join(args, " "), out)
		}
	}
	everythingIsOurs := func() {
		r.Helper()
		if all := r.sh("find %s ! -user capd", dir); all != "" {
			r.Errorf("not the service's:\n%s", all)
		}
	}

	// Before its first start, and then while it runs.
	byHand(false, "create, write, rename and delete work", "check", "-c", file)
	r.byHand(send, file)
	everythingIsOurs()
	r.sh("systemctl start %s", unit)
	r.recorded(send, dir, "first")
	byHand(false, "is that of the running capd ("+unit+", process ", "check", "-c", file)
	byHand(false, ", which records by this configuration", "check", "-c", file)
	byHand(true, "another capd records here", "run", "-c", file)
	r.sh("capd rotate --socket /run/capd-hand/capd.sock")
	r.sh("f=$(ls %[1]s/*.pcapng | tail -1) && capd filter -r $f -w %[1]s/copy.pcapng && head -c -1 $f > /tmp/torn.pcapng && "+
		"cp /tmp/torn.pcapng %[1]s/torn.pcapng && chown capd %[1]s/torn.pcapng && capd salvage %[1]s/torn.pcapng", dir)
	everythingIsOurs()
	r.recorded(send, dir, "still there")
	if n := r.number(unit, "NRestarts"); n != 0 {
		r.Errorf("the service was started again %d times", n)
	}

	// Another configuration of the same directory, and the service is stopped.
	r.sh("sed 's/32MiB/8MiB/' %s > /etc/capd/other.toml", file)
	other, err := r.lab.Command("capd", "check", "-c", "/etc/capd/other.toml").CombinedOutput()
	if err != nil || !strings.Contains(string(other), "which records by another configuration") {
		r.Errorf("%v\n%s", err, other)
	}
	r.sh("systemctl stop %s", unit)
	r.byHand(send, file)
	everythingIsOurs()
	r.sh("systemctl start %s", unit)
	r.recorded(send, dir, "after root")
	r.sh("systemctl stop %s", unit)
	everythingIsOurs()
}

// byHand records some frames as root.
func (r *rig) byHand(send interface{ Write([]byte) (int, error) }, file string) {
	r.Helper()
	cmd := r.lab.Command("capd", "run", "-c", file, "--count", "3")
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		r.Fatal(err)
	}
	ended := make(chan error, 1)
	go func(cmd *exec.Cmd) { ended <- cmd.Wait() }(cmd)
	for tick := time.NewTicker(20 * time.Millisecond); ; <-tick.C {
		_, _ = send.Write(frame("by hand", 60))
		select {
		case err := <-ended:
			if err != nil {
				r.Errorf("capd run: %v\n%s", err, &out)
			}
			return
		default:
		}
	}
}
