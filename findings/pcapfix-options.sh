#!/bin/sh
# pcapfix takes packet options that the draft of pcapng defines for damage, and "repairs" a file that has
# nothing wrong: it knows the first four options of an enhanced packet block only. Of epb_packetid (5), epb_queue (6),
# epb_verdict (7) and custom options it reads the value as the length of the block, and drops the rest.
# What it writes has the packet, but not the option. A file with epb_flags (2) alone is "proper".
#
# Seen with pcapfix 1.1.7 (Debian 12, package 1.1.7-2):
#
#     flags: nothing to fix; queue: 4 corruptions fixed
#
# Needs apt-get. Works in a temporary folder.
set -eu

version=1.1.7-2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
chmod 755 "$dir"
(cd "$dir" && apt-get download "pcapfix=$version" >/dev/null 2>&1) || { echo "pcapfix $version can't be had" >&2; exit 1; }
dpkg -x "$dir"/pcapfix_*.deb "$dir/package"

# write NAME OPTION: a section header, an Ethernet interface, and a packet of 60 bytes with an option of 4 bytes, and its end.
write() {
    {
        printf '\012\015\015\012\034\0\0\0\115\074\053\032\001\0\0\0\377\377\377\377\377\377\377\377\034\0\0\0'
        printf '\001\0\0\0\024\0\0\0\001\0\0\0\0\0\0\0\024\0\0\0'
        printf '\006\0\0\0\150\0\0\0\0\0\0\0\013\136\0\0\0\0\0\0\074\0\0\0\074\0\0\0'
        printf '\0\0\0\0\0\0\0\0\0\0\0\0\210\265'
        head -c 46 /dev/zero
        printf %b "$2"
        printf '\0\0\0\0\150\0\0\0'
    } >"$dir/$1.pcapng"
}
write flags '\0002\0\0004\0\0001\0\0\0'
write queue '\0006\0\0004\0\0003\0\0\0'

fix() { "$dir/package/usr/bin/pcapfix" -o "$dir/$1.fixed" "$dir/$1.pcapng" | sed -n -e 's/.*Nothing to fix.*/nothing to fix/p' -e 's/.*SUCCESS: \([0-9]*\) Corruption.*/\1 corruptions fixed/p'; }
seen="flags: $(fix flags); queue: $(fix queue)"
echo "pcapfix $version: $seen"
[ "$seen" = "flags: nothing to fix; queue: 4 corruptions fixed" ]
