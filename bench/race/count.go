//go:build linux

package main

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"capd/bench/inject"

	"github.com/klauspost/compress/zstd"
)

// A tally compares the sequence numbers found in files with those that were sent, from 0 to
// offered.
type tally struct {
	Frames    uint64 // records with a numbered frame
	Distinct  uint64 // of these, the first ones with their number
	Doubled   uint64 // further frames with a number found before
	Reordered uint64 // first frames with a number below one found before
	Cut       uint64 // frames that were truncated
	Foreign   uint64 // records of other frames
	Torn      int    // files that end in the middle of a record
	Unread    int    // files of unknown formats, such as a ledger

	end   uint64 // numbers from here on don't count; 0: all do
	apart bool   // frames of one file may be older than those of the file before it

	seen []uint64 // one bit for each number
	next uint64   // highest number found, plus one

	skim  int      // frames in a round of sizes, if the middle of files may be skipped in whole rounds; 0: read everything
	file  *os.File // the file being read, if skipping may be tried; else nil
	round round    // the file's first round
}

// A round is the smallest number of frames, from the start of a file, that contains each size of
// the mix.
type round struct {
	next   uint64 // the next number expected
	frames int    // number of frames so far
	bytes  int64  // of their records
	cut    int    // number of truncated frames
}

// lost returns how many of the offered numbers were not found.
func (t *tally) lost(offered uint64) uint64 { return offered - min(offered, t.Distinct) }

// maxNumber limits the memory for numbers to 256 MiB, enough for over 30 minutes at a million per
// second.
const maxNumber = 1 << 31

// add adds one record: up to recordHead bytes of the captured frame, and its captured and original
// lengths.
func (t *tally) add(head []byte, captured, length uint32) {
	number, ok := inject.Sequence(head)
	if !ok || number >= maxNumber {
		t.Foreign++
		return
	}
	if captured < length {
		t.Cut++
	}
	t.meet(number)
}

// meet counts a frame with a number.
func (t *tally) meet(number uint64) {
	if t.end > 0 && number >= t.end {
		return
	}
	t.Frames++
	word, bit := int(number/64), uint64(1)<<(number%64)
	if word >= len(t.seen) {
		t.seen = append(t.seen, make([]uint64, word+1-len(t.seen))...)
	}
	if t.seen[word]&bit != 0 {
		t.Doubled++
		return
	}
	t.seen[word] |= bit
	t.Distinct++
	if number < t.next {
		t.Reordered++
	}
	t.next = max(t.next, number+1)
}

// recordHead is how many bytes of a frame a tally needs.
const recordHead = inject.MinSize

// walk adds every record of a capture file to the tally. It supports little-endian pcap with both
// resolutions, pcapng's enhanced packet blocks, and stenotype's ring blocks.
func (t *tally) walk(r *bufio.Reader) error {
	magic, err := r.Peek(4)
	if err != nil {
		t.Unread++
		return ignoreEOF(err)
	}
	switch binary.LittleEndian.Uint32(magic) {
	case 0xa1b2c3d4, 0xa1b23c4d: // draft-ietf-opsawg-pcap: micro-, nanoseconds
		err = t.walkPcap(r)
	case 0x0a0d0d0a:
		err = t.walkPcapng(r)
	case ringVersion:
		err = t.walkBlocks(r)
	default:
		t.Unread++
		return nil
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		t.Torn++
		return nil
	}
	return err
}

func ignoreEOF(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

// torn converts the end of a file in the middle of a record to io.ErrUnexpectedEOF.
func torn(got []byte, err error) error {
	if err == io.EOF && len(got) > 0 {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (t *tally) walkPcap(r *bufio.Reader) error {
	const fileHeader, recordHeader = 24, 16
	if err := skip(r, fileHeader); err != nil {
		return err
	}
	for {
		h, err := r.Peek(recordHeader)
		if err != nil {
			return ignoreEOF(torn(h, err))
		}
		captured, length := binary.LittleEndian.Uint32(h[8:]), binary.LittleEndian.Uint32(h[12:])
		if err := t.record(r, recordHeader, captured, length, captured); err != nil {
			return err
		}
	}
}

func (t *tally) walkPcapng(r *bufio.Reader) error {
	const blockHeader, packetHeader, enhancedPacket = 8, 28, 6 // draft-ietf-opsawg-pcapng, section 4.3
	for {
		h, err := r.Peek(blockHeader)
		if err != nil {
			return ignoreEOF(torn(h, err))
		}
		kind, size := binary.LittleEndian.Uint32(h), binary.LittleEndian.Uint32(h[4:])
		if size < 12 || size%4 != 0 {
			return fmt.Errorf("pcapng block of %d bytes", size)
		}
		if kind != enhancedPacket {
			if err := skip(r, int64(size)); err != nil {
				return err
			}
			continue
		}
		if h, err = r.Peek(packetHeader); err != nil {
			return ignoreEOF(torn(h, err))
		}
		captured, length := binary.LittleEndian.Uint32(h[20:]), binary.LittleEndian.Uint32(h[24:])
		if size < packetHeader+4 || captured > size-packetHeader-4 {
			return fmt.Errorf("pcapng packet of %d bytes in a block of %d", captured, size)
		}
		if err := t.record(r, packetHeader, captured, length, size-packetHeader); err != nil {
			return err
		}
	}
}

// stenotype writes the ring's blocks unchanged. Each begins with a struct tpacket_block_desc, whose
// version is that of the ring, followed by packets with a struct tpacket3_hdr each
// (linux/if_packet.h).
const (
	ringVersion = 2 // TPACKET_V3
	ringBlock   = 1 << 20
)

func (t *tally) walkBlocks(r *bufio.Reader) error {
	for {
		b, err := r.Peek(ringBlock)
		if err != nil {
			return ignoreEOF(torn(b, err))
		}
		// Preallocated space has version 0.
		if binary.LittleEndian.Uint32(b) == ringVersion {
			if err := t.block(b); err != nil {
				return err
			}
		}
		if err := skip(r, ringBlock); err != nil {
			return err
		}
	}
}

func (t *tally) block(b []byte) error {
	const header = 48 // bytes of struct tpacket3_hdr
	le := binary.LittleEndian
	packets, at := le.Uint32(b[12:]), uint64(le.Uint32(b[16:]))
	for range packets {
		if at+header > uint64(len(b)) {
			return fmt.Errorf("ring packet at %d of a block of %d bytes", at, len(b))
		}
		h := b[at:]
		next, captured, length, mac := le.Uint32(h), le.Uint32(h[12:]), le.Uint32(h[16:]), le.Uint16(h[24:])
		if uint64(mac)+uint64(captured) > uint64(len(h)) {
			return fmt.Errorf("ring packet of %d bytes leaves its block", captured)
		}
		t.add(h[mac:][:min(captured, recordHead)], captured, length)
		if next == 0 {
			return nil
		}
		at += uint64(next)
	}
	return nil
}

// record reads a record of header bytes and rest further bytes, which begin with the frame. Only
// complete records count.
func (t *tally) record(r *bufio.Reader, header int, captured, length, rest uint32) error {
	want := header + int(min(captured, recordHead))
	h, err := r.Peek(want)
	if err != nil {
		return torn(h, err)
	}
	var head [recordHead]byte
	n := copy(head[:], h[header:])
	if err := skip(r, int64(header)+int64(rest)); err != nil {
		return err
	}
	t.add(head[:n], captured, length)
	return t.leap(r, head[:n], header, int64(header)+int64(rest), captured < length)
}

// leap remembers the file's first round and then continues near the end of the file. It is tried
// once for each file.
func (t *tally) leap(r *bufio.Reader, head []byte, header int, record int64, cut bool) error {
	f := t.file
	if f == nil {
		return nil
	}
	number, ok := inject.Sequence(head)
	whole := ok && t.round.add(number, record, cut)
	if whole && t.round.frames < t.skim {
		return nil
	}
	t.file = nil
	if !whole {
		return nil
	}
	return t.leapOver(f, r, header)
}

// add adds a record to the round, and reports whether its number follows the previous one.
func (o *round) add(number uint64, record int64, cut bool) bool {
	follows := o.frames == 0 || number == o.next
	o.next = number + 1
	o.frames++
	o.bytes += record
	if cut {
		o.cut++
	}
	return follows
}

// leapOver skips whole rounds, as long as the first one, if the number found after them proves that
// no frame in between is missing. A file that lost or duplicated a frame is read completely.
func (t *tally) leapOver(f *os.File, r *bufio.Reader, header int) error {
	const left = 1 << 20 // bytes of the file's end to read
	info, err := f.Stat()
	if err != nil {
		return err
	}
	at, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	at -= int64(r.Buffered())
	n := (info.Size() - at - left) / t.round.bytes
	if n <= 0 {
		return nil
	}
	at += n * t.round.bytes
	there := make([]byte, header+recordHead)
	if _, err := f.ReadAt(there, at); err != nil {
		return err
	}
	next := t.round.next
	end := next + uint64(n)*uint64(t.round.frames)
	if last, ok := inject.Sequence(there[header:]); !ok || last != end {
		return nil
	}
	t.Cut += uint64(n) * uint64(t.round.cut)
	for ; next < end; next++ {
		t.meet(next)
	}
	_, err = f.Seek(at, io.SeekStart)
	r.Reset(f)
	return err
}

func skip(r *bufio.Reader, n int64) error {
	if n < 1<<20 {
		_, err := r.Discard(int(n))
		return torn([]byte{0}, err)
	}
	_, err := io.CopyN(io.Discard, r, n)
	return torn([]byte{0}, err)
}

// readAhead is the size of the read buffer, which must hold a ring block.
const readAhead = ringBlock

const zstdExt = ".zst"

// countFile adds a file to the tally.
func (t *tally) countFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if t.apart {
		t.next = 0
	}
	var r io.Reader = f
	if filepath.Ext(path) == zstdExt {
		z, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return err
		}
		defer z.Close()
		r = z
	} else if t.skim > 0 {
		t.file, t.round = f, round{}
	}
	if err := t.walk(bufio.NewReaderSize(r, readAhead)); err != nil {
		return fmt.Errorf("count %s: %w", filepath.Base(path), err)
	}
	return nil
}

// recordings lists the files under a folder in the order in which they were written. A larger
// number makes the name longer or greater.
func recordings(dir string) ([]string, error) {
	var paths []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			paths = append(paths, path)
		}
		return err
	})
	slices.SortFunc(paths, func(a, b string) int {
		// Names may also end in a suffix for the file's state.
		a, b = strings.TrimSuffix(a, ".partial"), strings.TrimSuffix(b, ".partial")
		a, b = strings.TrimSuffix(a, zstdExt), strings.TrimSuffix(b, zstdExt)
		return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
	})
	return paths, err
}
