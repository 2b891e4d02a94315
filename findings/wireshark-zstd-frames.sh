#!/bin/sh
# Wireshark 4.0 reads the beginning of a capture that is several zstd frames in a row, as pzstd, "zstd ... >>" and the seekable
# format make them, and calls the rest damaged: when a frame ends, it loses what it has read of the next one while output waits.
# Frames in a row are one content (RFC 8878, section 3), and zstd -dc gives all of it. Members of gzip in a row are read whole.
# Wireshark 4.4.19 reads both.
#
# Seen with wireshark-common 4.0.17-0+deb12u3 (Debian 12) and zstd 1.5.4+dfsg2-5; the file has 3000 packets in 3 frames:
#
#     one frame 3000, three frames an error after 1060, three members of gzip 3000
#
# Needs apt-get and perl. Works in a temporary folder.
set -eu

version=4.0.17-0+deb12u3
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
chmod 755 "$dir"
cd "$dir"
apt-get download "wireshark-common=$version" "libwiretap13=$version" "libwsutil14=$version" zstd=1.5.4+dfsg2-5 \
    libzstd1=1.5.4+dfsg2-5 libglib2.0-0 libpcre2-8-0 libgcrypt20 libgpg-error0 liblz4-1 >/dev/null 2>&1 || { echo "wireshark-common $version can't be had" >&2; exit 1; }
for package in *.deb; do dpkg -x "$package" package; done
export LD_LIBRARY_PATH="$dir/package/usr/lib/x86_64-linux-gnu:$dir/package/lib/x86_64-linux-gnu"
zstd="$dir/package/usr/bin/zstd"

# A pcap file of 3000 packets of 1400 bytes, of which half can't be compressed: of frames that are very small, all is read.
printf '\324\303\262\241\002\0\004\0\0\0\0\0\0\0\0\0\0\0\004\0\001\0\0\0' >plain.pcap
perl -e 'srand 1; print map { chr int rand 256 } 1 .. 2100000' >noise
split -a 4 -b 700 noise packet.
for packet in packet.*; do
    printf '\0\0\0\0\0\0\0\0\170\005\0\0\170\005\0\0'
    cat "$packet"
    head -c 700 /dev/zero
done >>plain.pcap
split -b 1500000 plain.pcap piece.
"$zstd" -q plain.pcap -o one.pcap.zst
for piece in piece.a?; do
    "$zstd" -q -c "$piece" >>three.pcap.zst
    gzip -c "$piece" >>three.pcap.gz
done
"$zstd" -dqc three.pcap.zst | cmp - plain.pcap

count() {
    code=0
    "$dir/package/usr/bin/capinfos" -M -c -T -r "$1" >out 2>err || code=$?
    if [ "$code" = 0 ]; then
        awk -F '\t' 'END { printf "%s", $2 }' out
    else
        sed -n 's/.*An error occurred after reading \([0-9]*\) packets.*/an error after \1/p' err
    fi
}
seen="one frame $(count one.pcap.zst), three frames $(count three.pcap.zst), three members of gzip $(count three.pcap.gz)"
echo "capinfos $version: $seen"
[ "$seen" = "one frame 3000, three frames an error after 1060, three members of gzip 3000" ]
