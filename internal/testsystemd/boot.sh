#!/bin/sh
# boot.sh STATE SHARED GROUP creates a temporary copy of the machine's root and runs
# systemd in it. It must be pid 1 in new pid, mount, network, uts, ipc and cgroup
# namespaces. The directory SHARED has the same path inside and outside. GROUP is the name
# of its control group. If CAPD_SYSTEMD is set, the files of that directory are laid over
# the root: another version of systemd.
set -eu
state=$1 shared=$2 group=$3
mount --make-rprivate / # otherwise the mounts below would appear on the host
mount -t tmpfs -o mode=755 lab "$state"
mkdir "$state/up" "$state/work" "$state/root"
root=$state/root
[ -z "${CAPD_SYSTEMD:-}" ] || cp -a "$CAPD_SYSTEMD/." "$state/up"
mount -t overlay lab -o "lowerdir=/,upperdir=$state/up,workdir=$state/work" "$root"
# Hide the configuration and the captures of a capd on this machine.
rm -rf "$root"/etc/capd "$root"/var/lib/capd "$root"/etc/systemd/system/capd*
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
# Two labs at once must not share a control group: the units have the same names.
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mkdir "$root/sys/fs/cgroup/$group"
echo 0 >"$root/sys/fs/cgroup/$group/cgroup.procs"
umount "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 run "$root/run"
mount -t tmpfs tmp "$root/tmp"
mount --rbind /dev "$root/dev"
mkdir -p "$root$shared"
mount --bind "$shared" "$root$shared"
echo lab >"$root/etc/hostname"
: >"$root/etc/machine-id"
rm -f "$root"/etc/systemd/system/*.wants/*
for unit in systemd-udevd systemd-udev-trigger systemd-networkd systemd-resolved systemd-timesyncd systemd-logind systemd-remount-fs; do
	ln -sf /dev/null "$root/etc/systemd/system/$unit.service"
done
ln -sf /dev/null "$root/etc/systemd/system/getty.target"
cd "$root"
exec unshare --cgroup sh -c 'mount -t cgroup2 cgroup2 sys/fs/cgroup && exec "$@"' sh env -i container=lab PATH=/usr/sbin:/usr/bin:/sbin:/bin \
	chroot . /lib/systemd/systemd --system --unit=multi-user.target --log-target=journal --show-status=no
