package control

// The option LOCAL_PEEREID (sys/un.h) answers with struct unpcbid: process, user, group.
const peerLevel, peerOption, peerUID = 0, 3, 4
