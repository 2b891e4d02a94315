#!/bin/sh
# Lets a group open the packet filter's devices: bpf-access.sh GROUP
set -eu
group=${1:?usage: bpf-access.sh GROUP}
# XNU makes a node when the one before is opened. Each recorded interface takes
# one, and others use some too.
want=64
most=$(sysctl -n debug.bpf_maxdevices 2>/dev/null || echo 256)
if [ "$want" -gt "$most" ]; then want=$most; fi
n=0
while [ "$n" -lt "$want" ]; do
	# Opened and closed. One that is in use says so, and is there.
	(: </dev/bpf$n) 2>/dev/null || true
	n=$((n + 1))
done
chgrp "$group" /dev/bpf*
chmod g+rw /dev/bpf*
