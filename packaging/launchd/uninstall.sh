#!/bin/sh
# Removes what install.sh has installed, except captures, logs, the configuration
# and the account: sudo ./uninstall.sh
set -eu
prefix=/usr/local

if [ "$(id -u)" != 0 ]; then
	echo 'capd: uninstall.sh: must be run as root: sudo ./uninstall.sh' >&2
	exit 1
fi
for label in io.capd.capd io.capd.bpf; do
	launchctl bootout "system/$label" 2>/dev/null || true
	rm -f "/Library/LaunchDaemons/$label.plist"
done
rm -f $prefix/bin/capd $prefix/libexec/capd/bpf-access.sh
rmdir $prefix/libexec/capd 2>/dev/null || true
echo "captures stay in $prefix/var/capd, the configuration in $prefix/etc/capd, the log in $prefix/var/log/capd"
