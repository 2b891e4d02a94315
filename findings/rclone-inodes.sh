#!/bin/sh
# A mount of rclone says that it has 1,000,000,000 inodes and that none of them is free, though files can
# be made. df -i shows 100 % in use. A program that deletes old files when inodes run out, or a monitor
# that warns of it, believes a full file system. rclone fills statfs's f_files and leaves f_ffree at 0.
#
# Seen with rclone 1.60.1 (Debian 12, package 1.60.1+dfsg-2+b5), the "local" backend:
#
#     inodes 1000000000 free 0, and a file was made
#
# Needs root, /dev/fuse and apt-get. Works in a temporary folder and a mount namespace of its own.
set -eu

version=1.60.1+dfsg-2+b5
if [ "${1:-}" != inside ]; then
    dir=$(mktemp -d)
    trap 'rm -rf "$dir"' EXIT
    chmod 755 "$dir"
    (cd "$dir" && apt-get download "rclone=$version" >/dev/null 2>&1) || { echo "rclone $version can't be had" >&2; exit 1; }
    dpkg -x "$dir"/rclone_*.deb "$dir/package"
    mkdir "$dir/source" "$dir/mount"
    unshare --mount --propagation private sh "$0" inside "$dir"
    exit
fi

dir=$2
mount --make-rprivate /
"$dir/package/usr/bin/rclone" mount --daemon --config /dev/null --vfs-cache-mode full --cache-dir "$dir/cache" "$dir/source" "$dir/mount"
seen=$(stat --file-system --format 'inodes %c free %d' "$dir/mount")
echo content >"$dir/mount/file"
[ "$(cat "$dir/mount/file")" = content ] && seen="$seen, and a file was made"
umount "$dir/mount"
echo "rclone $version: $seen"
[ "$seen" = "inodes 1000000000 free 0, and a file was made" ]
