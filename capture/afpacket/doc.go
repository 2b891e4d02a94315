// Package afpacket captures with Linux's packet sockets (packet(7)): from a
// ring of blocks that the kernel shares, or frame by frame where it has none.
// The code that parses the kernel's memory builds on every system, so that its tests and fuzz
// targets run everywhere.
package afpacket
