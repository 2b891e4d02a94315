#!/bin/sh
# Installs capd as a service of macOS: sudo ./install.sh PROGRAM
# It keeps an existing configuration, account and captures. It also upgrades
# the program: capd is restarted, and frames are lost meanwhile.
set -eu
program=${1:?usage: install.sh PROGRAM, where PROGRAM is the built capd}
here=$(cd "$(dirname "$0")" && pwd)
prefix=/usr/local
account=_capd

if [ "$(id -u)" != 0 ]; then
	echo 'capd: install.sh: must be run as root: sudo ./install.sh' >&2
	exit 1
fi

# free_id prints an id below 400 that no user or group uses.
free_id() {
	taken=$(dscl . -list /Users UniqueID && dscl . -list /Groups PrimaryGroupID)
	id=399
	while echo "$taken" | awk '{print $2}' | grep -qx "$id"; do id=$((id - 1)); done
	echo "$id"
}

if ! dscl . -read "/Groups/$account" >/dev/null 2>&1; then
	dscl . -create "/Groups/$account"
	dscl . -create "/Groups/$account" PrimaryGroupID "$(free_id)"
	dscl . -create "/Groups/$account" RealName 'Packet recorder'
fi
if ! dscl . -read "/Users/$account" >/dev/null 2>&1; then
	gid=$(dscl . -read "/Groups/$account" PrimaryGroupID | awk '{print $2}')
	dscl . -create "/Users/$account"
	dscl . -create "/Users/$account" UniqueID "$gid"
	dscl . -create "/Users/$account" PrimaryGroupID "$gid"
	dscl . -create "/Users/$account" RealName 'Packet recorder'
	dscl . -create "/Users/$account" NFSHomeDirectory /var/empty
	dscl . -create "/Users/$account" UserShell /usr/bin/false
	dscl . -create "/Users/$account" IsHidden 1
fi

install -d -m 755 $prefix/bin $prefix/libexec/capd $prefix/etc/capd
install -d -m 750 -o $account -g $account $prefix/var/capd $prefix/var/log/capd
install -m 755 "$program" $prefix/bin/capd
install -m 755 "$here/bpf-access.sh" $prefix/libexec/capd/bpf-access.sh
if [ ! -e $prefix/etc/capd/capd.toml ]; then
	install -m 644 "$here/capd.toml" $prefix/etc/capd/capd.toml
fi
for label in io.capd.bpf io.capd.capd; do
	launchctl bootout "system/$label" 2>/dev/null || true
	install -m 644 "$here/$label.plist" "/Library/LaunchDaemons/$label.plist"
	launchctl bootstrap system "/Library/LaunchDaemons/$label.plist"
done
echo "capd records as $prefix/etc/capd/capd.toml says, into $prefix/var/capd"
echo "to apply changes of it: sudo launchctl kill HUP system/io.capd.capd"
