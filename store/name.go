// Package store manages directories of recordings: the names of files and the states that they
// express, the files in a directory, its lock and its disk space, and file operations that differ
// between systems.
//
// Steps that are done with finished files are recorded as marks in the directory's journal,
// .capd-marks (see Marks). Each line is a JSON object. The first line lists the steps that have
// marks. Each other line holds everything that is known about one file; the last line about a file
// applies:
//
//	{"steps":["hook"]}
//	{"file":"eth0-20260102T030405Z-000017.pcap","facts":{"end":"2026-01-02T04:04:05Z","packets":10, ...}}
//	{"file":"eth0-20260102T030405Z-000017.pcap","done":["hook"]}
//
// A line is appended when a file is finished, without a sync, and when a step is done, with a sync.
// A failed write may leave a partial line: the next write begins with a newline, and malformed
// lines are skipped. From time to time the journal is rewritten with only the files that still
// exist: to .capd-marks.tmp, which is synced and renamed, followed by a sync of the directory.
// Older versions wrote .capd-hooks, with the fields "file", "done":true and "facts" in each line; it
// is converted to marks of the step "hook" and then removed.
package store

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"capd/pcap"
)

// stamp is the format of the time in a name. The file holds every frame from that time on.
const stamp = "20060102T150405Z"

// A Name is the name of a capture file, such as
// eth0-20260102T030405Z-000017.pcap, or ...-000017.2.pcap of a second lane, or ...-000017.pcap.age if it
// is encrypted.
type Name struct {
	Interface string    // the system's name for it; escaped in the file's name
	Start     time.Time // the file holds every frame from here on; whole seconds, UTC
	Sequence  uint64    // increases by one with each file of this interface and lane, over restarts too
	Lane      int       // from 1 if the interface is recorded into several files at once; else 0
	Format    pcap.Format
	Encrypted bool // the file is an age file: its name ends with .age
}

// encryptedExt ends the names of encrypted files.
const encryptedExt = ".age"

// Of returns the lane of the file.
func (n Name) Of() Lane { return Lane{n.Interface, n.Lane} }

// A Lane is one sequence of files: an interface, or one of its rings if it has several.
type Lane struct {
	Interface string
	Number    int // see Name
}

// String returns the name of the finished file.
func (n Name) String() string { return string(n.append(make([]byte, 0, 64))) }

// append appends the name of the finished file. A start parses a name for each file and each line of the ledger, so it
// does not format by reflection.
func (n Name) append(b []byte) []byte {
	b = append(appendEscaped(b, n.Interface), '-')
	b = append(n.Start.UTC().AppendFormat(b, stamp), '-')
	for least := uint64(100_000); least > max(n.Sequence, 1); least /= 10 {
		b = append(b, '0')
	}
	b = strconv.AppendUint(b, n.Sequence, 10)
	if n.Lane > 0 {
		b = strconv.AppendInt(append(b, '.'), int64(n.Lane), 10)
	}
	b = append(b, n.Format.Ext()...)
	if n.Encrypted {
		b = append(b, encryptedExt...)
	}
	return b
}

// ParseName is the inverse of Name.String. It accepts only what String produces, so that a foreign
// file is never treated as a capture file.
func ParseName(s string) (Name, error) {
	fail := func(reason string) (Name, error) { return Name{}, fmt.Errorf("file name %q: %s", s, reason) }
	var n Name
	capture, encrypted := strings.CutSuffix(s, encryptedExt)
	n.Encrypted = encrypted
	ext := filepath.Ext(capture)
	switch ext {
	case pcap.PCAP.Ext():
		n.Format = pcap.PCAP
	case pcap.PCAPNG.Ext():
		n.Format = pcap.PCAPNG
	default:
		return fail("not a capture file of capd: ends in neither .pcap nor .pcapng, encrypted (.age) or not")
	}
	rest := strings.TrimSuffix(capture, ext)
	head, sequence, ok := cutLast(rest, "-")
	if !ok {
		return fail("has no sequence number")
	}
	name, start, ok := cutLast(head, "-")
	if !ok {
		return fail("has no time")
	}
	var err error
	sequence, lane, ok := strings.Cut(sequence, ".")
	if n.Lane, err = strconv.Atoi(lane); ok && (err != nil || n.Lane < 1) {
		return fail("has no lane")
	}
	if n.Sequence, err = strconv.ParseUint(sequence, 10, 64); err != nil {
		return fail("has no sequence number")
	}
	if n.Start, err = time.Parse(stamp, start); err != nil {
		return fail("has no time")
	}
	if n.Interface, err = unescape(name); err != nil || n.Interface == "" {
		return fail("has no interface")
	}
	if string(n.append(make([]byte, 0, 64))) != s {
		return fail("is not as capd writes it")
	}
	return n, nil
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// appendEscaped replaces bytes that a shell, a file system or another system's tools could misinterpret by
// %XX. A name never starts with a dot, which hides a file, or a dash, which looks like an option.
func appendEscaped(b []byte, s string) []byte {
	for i := range len(s) {
		c := s[i]
		if plain(c) || (i > 0 && (c == '-' || c == '.')) {
			b = append(b, c)
		} else {
			b = fmt.Appendf(b, "%%%02X", c)
		}
	}
	return b
}

func plain(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("_+@=", c) >= 0
}

func unescape(s string) (string, error) {
	if !strings.Contains(s, "%") {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		if i+3 > len(s) {
			return "", fmt.Errorf("cut off escape %q", s[i:])
		}
		c, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			return "", fmt.Errorf("escape %q: not hexadecimal", s[i:i+3])
		}
		b.WriteByte(byte(c))
		i += 2
	}
	return b.String(), nil
}
