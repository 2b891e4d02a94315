#!/bin/sh
# tshark deletes the device that it is told to write to, if the capture can't begin. As root, "tshark -i no-such-interface -w /dev/null"
# takes /dev/null away, and the next program that writes there makes a file that grows. dumpcap, which tshark runs, removes the
# file of a capture that failed, whatever it is.
#
# Seen with tshark 4.0.17-0+deb12u3 (Debian 12), with a device of its own in a temporary folder:
#
#     exit code 1, the device is gone
#
# Needs root and apt-get. Works in a temporary folder.
set -eu

version=4.0.17-0+deb12u3
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
chmod 755 "$dir"
cd "$dir"
# All that tshark needs beside the C library, whatever is installed.
packages=$(apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances "tshark=$version" |
    grep '^lib' | grep -v -x -e libc6 -e 'libelogind0' -e 'libdebian-installer4' | sort -u)
# shellcheck disable=SC2086 # a list
apt-get download "tshark=$version" "wireshark-common=$version" $packages >/dev/null 2>err || { cat err >&2; exit 1; }
for package in *.deb; do dpkg -x "$package" package; done
export LD_LIBRARY_PATH="$dir/package/usr/lib/x86_64-linux-gnu:$dir/package/lib/x86_64-linux-gnu"
mknod null c 1 3
code=0
package/usr/bin/tshark -i no-such-interface -w "$dir/null" >out 2>&1 || code=$?
seen="exit code $code, the device is $([ -e null ] && echo there || echo gone)"
echo "tshark $version: $seen"
[ "$seen" = "exit code 1, the device is gone" ]
