package flow

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"
)

// Keys of a table's metadata.
const (
	keyVersion = "capd.flows"
	keySource  = "capd.source"
	keyRegions = "capd.regions"
	keyCheck   = "capd.check"

	version     = "1"
	checkPrefix = "capd-crc32c="
	checkDigits = 8
	checkFormat = "%08x"
	noCheck     = "00000000" // while the checksum is made
)

// ErrDamaged is returned for a table that is not as it was written, or that is none of this version.
var ErrDamaged = errors.New("no whole flow table of this version")

// A Source is the capture file of a table.
type Source struct {
	File     string `json:"file"`     // its base name when the table was made
	Size     int64  `json:"size"`     // bytes on the disk then, compressed or not
	Modified int64  `json:"modified"` // nanoseconds since 1970
	Length   int64  `json:"length"`   // bytes of the capture file that were read, uncompressed
	Error    string `json:"error"`    // why no more were read; empty: that is all
	Totals   Totals `json:"totals"`
}

// A TableWriter writes the table of a file.
type TableWriter struct {
	file    *os.File
	parquet *parquet.GenericWriter[record]
	lane    int32
	records []record
	slots   []slot
	n       int
}

const (
	recordBatch  = 256
	maxGroupRows = 256 << 10
	filterBits   = 10
	maxDict      = 64 << 10
)

// NewTableWriter returns a writer to an empty file that is open to read and write. lane is that of the capture file; 0 is none.
func NewTableWriter(file *os.File, lane int) *TableWriter {
	return &TableWriter{
		file: file, lane: int32(lane), records: make([]record, recordBatch), slots: make([]slot, recordBatch),
		parquet: parquet.NewGenericWriter[record](file,
			parquet.Compression(&zstd.Codec{Level: zstd.SpeedDefault, Concurrency: 1}),
			parquet.BloomFilters(parquet.SplitBlockFilter(filterBits, "a"), parquet.SplitBlockFilter(filterBits, "b")),
			parquet.DictionaryMaxBytes(maxDict), parquet.MaxRowsPerRowGroup(maxGroupRows),
			parquet.CreatedBy("capd", version, ""), parquet.KeyValueMetadata(keyVersion, version),
		),
	}
}

// Write adds a row and the name of its interface.
func (w *TableWriter) Write(r *Row, iface string) error {
	w.records[w.n].set(&w.slots[w.n], r, iface, w.lane)
	if w.n++; w.n < recordBatch {
		return nil
	}
	return w.flush()
}

func (w *TableWriter) flush() error {
	_, err := w.parquet.Write(w.records[:w.n])
	w.n = 0
	return err
}

// Close writes the rest of the table, and the checksum over all of it, which it returns. It does not close or sync the file.
func (w *TableWriter) Close(s Source, regions []Region) (checksum uint32, err error) {
	if err := w.flush(); err != nil {
		return 0, err
	}
	text, err := json.Marshal(s)
	if err != nil {
		return 0, err
	}
	w.parquet.SetKeyValueMetadata(keySource, string(text))
	w.parquet.SetKeyValueMetadata(keyRegions, base64.StdEncoding.EncodeToString(encodeRegions(regions)))
	w.parquet.SetKeyValueMetadata(keyCheck, checkPrefix+noCheck)
	if err := w.parquet.Close(); err != nil {
		return 0, err
	}
	size, err := w.file.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	at, _, err := findCheck(w.file, size)
	if err != nil {
		return 0, err
	}
	if checksum, err = sum(w.file, size, at); err != nil {
		return 0, err
	}
	_, err = w.file.WriteAt(fmt.Appendf(nil, checkFormat, checksum), at)
	return checksum, err
}

// findCheck finds the digits of the checksum in the footer of a table.
func findCheck(r io.ReaderAt, size int64) (at int64, digits []byte, err error) {
	const tail = 8 // the footer's length, and PAR1
	var end [tail]byte
	if size < tail+4 {
		return 0, nil, ErrDamaged
	}
	if _, err := r.ReadAt(end[:], size-tail); err != nil {
		return 0, nil, err
	}
	footer := int64(binary.LittleEndian.Uint32(end[:]))
	if string(end[4:]) != "PAR1" || footer > size-tail-4 {
		return 0, nil, ErrDamaged
	}
	b := make([]byte, footer)
	if _, err := r.ReadAt(b, size-tail-footer); err != nil {
		return 0, nil, err
	}
	i := bytes.LastIndex(b, []byte(checkPrefix))
	if i < 0 || len(b)-i < len(checkPrefix)+checkDigits {
		return 0, nil, ErrDamaged
	}
	i += len(checkPrefix)
	return size - tail - footer + int64(i), b[i : i+checkDigits], nil
}

// sum returns the checksum of a table, over all its bytes, with zeros for the digits of the checksum itself.
func sum(r io.ReaderAt, size, at int64) (uint32, error) {
	h := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	if _, err := io.Copy(h, io.NewSectionReader(r, 0, at)); err != nil {
		return 0, err
	}
	_, _ = io.WriteString(h, noCheck)
	_, err := io.Copy(h, io.NewSectionReader(r, at+checkDigits, size-at-checkDigits))
	return h.Sum32(), err
}

// A Table is the table of a file, of which every byte was verified.
type Table struct {
	Source
	Regions  []Region
	Checksum uint32

	file *parquet.File
}

// OpenTable verifies a table and reads what it says about its file. An error that is none of reading wraps ErrDamaged.
func OpenTable(r io.ReaderAt, size int64) (t *Table, err error) {
	at, digits, err := findCheck(r, size)
	if err != nil {
		return nil, err
	}
	got, err := sum(r, size, at)
	if err != nil {
		return nil, err
	}
	if fmt.Sprintf(checkFormat, got) != string(digits) {
		return nil, fmt.Errorf("%w: its checksum is another one", ErrDamaged)
	}
	defer recovered(&err)
	file, err := parquet.OpenFile(r, size, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	t = &Table{file: file, Checksum: got}
	if v, _ := file.Lookup(keyVersion); v != version || file.Schema().String() != parquet.SchemaOf(record{}).String() {
		return nil, fmt.Errorf("%w: it is of version %q", ErrDamaged, v)
	}
	source, _ := file.Lookup(keySource)
	if err := json.Unmarshal([]byte(source), &t.Source); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	text, _ := file.Lookup(keyRegions)
	b, err := base64.StdEncoding.DecodeString(text)
	if err == nil {
		t.Regions, err = decodeRegions(b)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return t, nil
}

// recovered makes an error of a panic: parquet-go may panic on what is no Parquet.
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("%w: %v", ErrDamaged, p)
	}
}

// Each calls a function for each row, with the name of its interface; "" is not known. The row is valid until the function
// returns. The sums over the rows are checked at the end.
func (t *Table) Each(f func(r *Row, iface string) error) (err error) {
	defer recovered(&err)
	rows := parquet.NewGenericReader[record](t.file)
	defer rows.Close()
	left := t.file.NumRows()
	records := make([]record, min(recordBatch, left))
	var got Totals
	var r Row
	for left > 0 {
		n, err := rows.Read(records[:min(recordBatch, left)]) // for rows that there are not, it tries each column again
		left -= int64(n)
		if err != nil && err != io.EOF {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		for i := range records[:n] {
			if err := records[i].row(&r); err != nil {
				return fmt.Errorf("%w: %w", ErrDamaged, err)
			}
			got.add(&r)
			name := ""
			take(&name, records[i].Interface)
			if err := f(&r, name); err != nil {
				return err
			}
		}
		if n == 0 {
			break
		}
	}
	if want := t.Totals; got.Packets != want.Packets || got.Bytes != want.Bytes || got.Cut != want.Cut || got.Rows != want.Rows {
		return fmt.Errorf("%w: its rows have %+v, not %+v", ErrDamaged, got, want)
	}
	return nil
}

func (t *Totals) add(r *Row) {
	t.Rows++
	if !r.Inner() {
		t.Packets += r.Packets()
		t.Bytes += r.Bytes()
		t.Cut += r.Cut
	}
}
