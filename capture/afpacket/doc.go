// Package afpacket captures with Linux's packet sockets (packet(7)): from a
// ring of blocks that the kernel shares, or frame by frame where it has none.
//
// What reads the kernel's memory has no system in its file's name, so that its
// tests and fuzz targets run on every system.
package afpacket
