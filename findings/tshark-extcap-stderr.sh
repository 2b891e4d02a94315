#!/bin/sh
# What an extcap program says on standard error counts only until its fifo ends. tshark reads standard error for the last time when it
# meets the end of the fifo, and shows it as "Error from extcap pipe". A program that closes the fifo first and then says what went
# wrong, as one does that writes its errors when it exits, says it to nobody: nothing is shown, and tshark's exit code is 0.
#
# Seen with tshark 4.0.17-0+deb12u3 (Debian 12):
#
#     said before the end: shown, exit code 0; said behind it: not shown, exit code 0
#
# Needs apt-get. Works in a temporary folder.
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
extcap="$dir/home/.config/wireshark/extcap"
mkdir -p "$extcap"
export HOME="$dir/home"

# An extcap with an interface for each order; its capture is a pcap file without packets.
cat >"$extcap/late" <<'EOF'
#!/bin/sh
for argument in "$@"; do
    case $argument in
    --extcap-interfaces) echo 'interface {value=before}{display=before}'; echo 'interface {value=behind}{display=behind}' ;;
    --extcap-dlts) echo 'dlt {number=1}{name=EN10MB}{display=Ethernet}' ;;
    esac
    case $last in
    --extcap-interface) interface=$argument ;;
    --fifo) fifo=$argument ;;
    esac
    last=$argument
done
[ -n "$fifo" ] || exit 0
exec 3>"$fifo"
printf '\324\303\262\241\002\0\004\0\0\0\0\0\0\0\0\0\0\0\004\0\001\0\0\0' >&3
sleep 1
[ "$interface" = behind ] || { echo 'the disk failed' >&2; sleep 1; }
exec 3>&-
[ "$interface" = before ] || { sleep 1; echo 'the disk failed' >&2; }
exit 1
EOF
chmod +x "$extcap/late"

try() {
    code=0
    "$dir/package/usr/bin/tshark" -i "$1" -w capture >out 2>&1 || code=$?
    if grep -q 'the disk failed' out; then printf 'shown, exit code %s' "$code"; else printf 'not shown, exit code %s' "$code"; fi
}
seen="said before the end: $(try before); said behind it: $(try behind)"
echo "tshark $version: $seen"
[ "$seen" = "said before the end: shown, exit code 0; said behind it: not shown, exit code 0" ]
