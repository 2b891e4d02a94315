package config

// maxSnaplen is the largest capture length in bytes that libpcap and Wireshark
// read (MAXIMUM_SNAPLEN).
const maxSnaplen = 262144
