#!/bin/sh
# hcxpcapngtool calls an enhanced packet block unreadable whose option has more than 1024 bytes, such as a long comment. An
# option of pcapng may have 65535 bytes. The exit code is 0; only a line of the summary, "packet read error", tells it.
#
# Seen with hcxpcapngtool 6.2.7 (Debian 12, package hcxtools 6.2.7-2):
#
#     comment of 1000 bytes: no error; of 1100 bytes: 1 packet read error
#
# Needs apt-get. Works in a temporary folder.
set -eu

version=6.2.7-2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
chmod 755 "$dir"
(cd "$dir" && apt-get download "hcxtools=$version" >/dev/null 2>&1) || { echo "hcxtools $version can't be had" >&2; exit 1; }
dpkg -x "$dir"/hcxtools_*.deb "$dir/package"

# le32 N and le16 N print a number as pcapng has it.
le16() { printf %b "$(printf '\\0%03o\\0%03o' $(($1 & 255)) $(($1 >> 8 & 255)))"; }
le32() { le16 $(($1 & 65535)); le16 $(($1 >> 16)); }

# write N: a section header, an interface of IEEE 802.11 and a packet of 24 bytes with a comment of N bytes, a multiple of 4.
write() {
    {
        printf '\012\015\015\012\034\0\0\0\115\074\053\032\001\0\0\0\377\377\377\377\377\377\377\377\034\0\0\0'
        printf '\001\0\0\0\024\0\0\0'; le16 105; printf '\0\0\0\0\0\0\024\0\0\0'
        size=$((32 + 24 + 8 + $1))
        printf '\006\0\0\0'; le32 $size; printf '\0\0\0\0\013\136\0\0\0\0\0\0\030\0\0\0\030\0\0\0'
        printf '\200'; head -c 23 /dev/zero
        printf '\001\0'; le16 "$1"; head -c "$1" /dev/zero | tr '\0' a
        printf '\0\0\0\0'; le32 $size
    } >"$dir/$1.pcapng"
}
errors() { "$dir/package/usr/bin/hcxpcapngtool" -o "$dir/out" "$dir/$1.pcapng" | sed -n 's/^packet read error[^0-9]*\([0-9]*\).*/\1/p'; }
write 1000
write 1100
few=$(errors 1000) many=$(errors 1100)
seen="comment of 1000 bytes: ${few:-no} error; of 1100 bytes: ${many:-no} packet read error"
echo "hcxpcapngtool $version: $seen"
[ "$seen" = "comment of 1000 bytes: no error; of 1100 bytes: 1 packet read error" ]
