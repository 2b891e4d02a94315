package systemd_test

import (
	"fmt"
	"strings"

	"capd/ledger"
	"capd/store"
)

// testNewDisk: when another disk is mounted at the path, which the sandbox keeps
// capd out of, capd says so, ends and is started again, and records there. While
// there is none, it is not started again for nothing.
func testNewDisk(r *rig) {
	const top, dir, old = "/srv/disks", "/srv/disks/m", "/srv/old"
	r.lab.Veth(r.T, "vdisk-", "vdisk")
	mount := "mount -t tmpfs -o size=64m disk " + dir + " && chown capd:capd-read " + dir
	// What is mounted under a shared mount reaches the namespaces of services.
	r.sh("mkdir -p %[1]s %[3]s && mount -t tmpfs top %[1]s && mount --make-shared %[1]s && mkdir %[2]s && %[4]s && mount --bind %[2]s %[3]s", top, dir, old, mount)
	unit, _ := r.instance("disk", "", "ReadWritePaths="+dir)
	r.lab.Write(r.T, "/etc/capd/disk.toml", fmt.Sprintf(settings, dir, "", "vdisk"), 0o644)
	r.sh("systemctl start %s", unit)
	send := r.lab.Sender(r.T, "vdisk-")
	r.recorded(send, dir, "before")

	r.sh("umount -l %s", dir)
	status := func() string { return r.sh("capd status --socket /run/capd-disk/capd.sock --check || true") }
	var last string
	defer func() { r.Logf("the last status: %s", last) }()
	r.lab.Await(r.T, "the problem in the status", func() bool {
		last = status()
		return strings.Contains(last, store.ErrReplaced.Error())
	})
	if n := r.number(unit, "NRestarts"); n != 0 {
		r.Errorf("restarted %d times while nothing was mounted:\n%s", n, r.sh("journalctl -u %s --no-pager", unit))
	}
	r.lab.Write(r.T, "/etc/fstab", "disk "+dir+" tmpfs noauto 0 0\n", 0o644)
	if out := r.sh("capd check -c /etc/capd/disk.toml || true"); !strings.Contains(out, "/etc/fstab says that a file system is mounted at "+dir+", and none is") {
		r.Errorf("check does not miss the disk:\n%s", out)
	}
	if out := r.sh("capd check -c /etc/capd/disk.toml || true"); !strings.Contains(out, "restart: a restart loses no frame: capd.service needs 3 ") {
		r.Errorf("check does not say what a restart costs:\n%s", out)
	}
	r.sh("%s", mount)
	r.restarted(unit, dir, 0, send)
	if n := r.number(unit, "NRestarts"); n != 1 {
		r.Errorf("restarted %d times", n)
	}
	if s := status(); strings.Contains(s, store.ErrReplaced.Error()) {
		r.Error(s)
	}
	if log := r.sh("journalctl -u %s --no-pager -o cat", unit); !strings.Contains(log, "ending, to be started again") {
		r.Errorf("no reason in\n%s", log)
	}
	r.sh("systemctl stop %s", unit)
	r.allFinished(r.lab.Path(dir))
	var end ledger.Entry
	for e, err := range ledger.Read(r.lab.Path(old), nil) {
		if err != nil {
			r.Fatal(err)
		}
		end = e
	}
	if end.Kind != ledger.KindStop || !strings.Contains(end.Why, "the sandbox keeps capd out of it") {
		r.Errorf("the last line in the ledger of the old disk: %+v", end)
	}
	r.sh("umount %s %s", dir, old)
}
