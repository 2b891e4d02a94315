#!/bin/sh
# Gives a group access to the BPF devices: bpf-access.sh GROUP
set -eu
group=${1:?usage: bpf-access.sh GROUP}
# XNU creates a device when the previous one is opened. Each recorded interface
# needs one device, and other programs need some too.
want=64
most=$(sysctl -n debug.bpf_maxdevices 2>/dev/null || echo 256)
if [ "$want" -gt "$most" ]; then want=$most; fi
n=0
while [ "$n" -lt "$want" ]; do
	# Open and close the device. An error means that it is in use, so it exists.
	(: </dev/bpf$n) 2>/dev/null || true
	n=$((n + 1))
done
chgrp "$group" /dev/bpf*
chmod g+rw /dev/bpf*
