package control

import "golang.org/x/sys/unix"

// The option answers with struct sockpeercred: user, group, process.
const peerLevel, peerOption, peerUID = unix.SOL_SOCKET, unix.SO_PEERCRED, 0
