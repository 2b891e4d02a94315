// Package flow finds the flows of packets, and makes tables of the flows of capture files.
//
// A flow is what two ends send each other: all frames of one interface with the same VLAN ids, Ethernet type, addresses, IP
// protocol and ports, or message type of ICMP, in both directions. Frames without IP or ARP belong to the flow of their MAC
// addresses. What a tunnel carries is a flow of its own, whose tunnel column is set; its packets count in the outer flow too,
// so sums are made over the rows without a tunnel.
//
// # The table on the disk
//
// The table of a capture file is a Parquet file beside it, with a row for each flow, or for a part of one, compressed by zstd.
// The type record has its columns. Times are UTC, in nanoseconds without a zone, because other kinds are cut to microseconds by
// some readers; addresses are text as in RFC 5952, because filters and statistics of text work everywhere. a is the sender of
// the row's first frame. A column is null where a frame has no such thing, or was cut before it: a row with an Ethernet type of
// IP and no addresses may have any. VLAN ids are at most four. The columns a and b have Bloom filters. What all columns say holds
// for every frame of the row, but MAC addresses if other_macs is set, and TCP flags if short is; Row.Facts says it to conditions of
// package filter.
//
// The number of rows is bounded. A Builder follows 256 Ki flows at a time; if there are more, those that seem to have ended
// become rows, so a flow may have several, each with a part of its packets. Rows take at most 2 % of the capture file, or
// 256 KiB if that is more. Flows of few packets beyond it are not listed: rows with unlisted set stand for them, which have
// the destination of many flows, or only the part of the file where they are. Whoever looks for a flow also reads the regions
// of those rows. The packets and bytes of all rows are always exactly those of the file.
//
// The metadata of the Parquet file has four keys:
//
//   - capd.flows: the version, 1.
//   - capd.source: a JSON object about the capture file: its name and size, by which a table of another file is found out,
//     the sums over the rows, and why the file could not be read to its end, if so.
//   - capd.regions: for each region of the file (see RegionSize) its offset, times and packets, in the encoding of
//     encodeRegions, in base64.
//   - capd.check: "capd-crc32c=" and the CRC-32C, in hexadecimal digits, of all bytes of the table with zeros in place of
//     these digits. Parquet guards neither its filters nor its footer, and a flipped bit there makes present keys absent.
//
// A table of which anything is in doubt is none: its capture file is read instead.
package flow
