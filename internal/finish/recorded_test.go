package finish

import (
	"bytes"
	"context"
	"io"
	"testing"

	"capd/flow"
	"capd/pcap"
	"capd/writer"
)

// made are rows that a recorder has made.
type made struct {
	rows  *flow.Rows
	drops int
}

func (*made) Records(int64, []byte) {}

func (*made) End(int64) {}

func (*made) Late() {}

func (m *made) Rows(context.Context) *flow.Rows { return m.rows }

func (m *made) Drop() { m.drops++ }

// rowsOf makes the rows of a capture.
func rowsOf(t *testing.T, path string) *flow.Rows {
	t.Helper()
	b := content(t, path)
	src, err := pcap.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	rows := new(flow.Rows)
	builder := flow.NewBuilder(func(r *flow.Row) error { rows.Add(r); return nil })
	builder.Describe(0)
	for id := builder.Interface("eth0", pcap.LinkTypeEthernet); ; {
		at := src.Offset()
		p, err := src.Next()
		if err == io.EOF {
			break
		}
		if err == nil {
			err = builder.Add(at, id, &p)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := rows.Finish(builder, int64(len(b))); err != nil {
		t.Fatal(err)
	}
	return rows
}

// TestIndexRecorded: the rows that a recorder has make the table that the file makes. Without them, or if they do not
// fit the file, that is read.
func TestIndexRecorded(t *testing.T) {
	for name, self := range selves() {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			r := newRig(t, Options{Directory: opened(t, dir), Index: true, Compression: Zstd, Self: self})
			r.run()
			var all []*made
			for i, recorded := range []bool{true, false, false, false} {
				f := capture(t, dir, i+1, 3000, pcap.PCAPNG)
				m := &made{rows: rowsOf(t, f.Path)}
				switch i {
				case 1:
					m.rows.Length--
				case 2:
					m.rows = nil
				case 3:
					f.Packets++
				}
				f.Observer = m
				all = append(all, m)
				r.Add(f)
				o := r.outcome()
				if o.Err != nil || o.Step != Index || o.Recorded != recorded {
					t.Errorf("file %d: %+v", i, o)
				}
				if o = r.outcome(); o.Step != Compress || o.Err != nil {
					t.Errorf("file %d: %+v", i, o)
				}
				checkTable(t, f.Path+".zst", 3000)
			}
			r.close()
			for i, m := range all {
				if m.drops != 1 {
					t.Errorf("file %d: dropped %d times", i, m.drops)
				}
			}
		})
	}
}

// TestRecordedIsDropped: what is in memory of files that get no table from it is freed, once.
func TestRecordedIsDropped(t *testing.T) {
	for _, index := range []bool{true, false} {
		dir := t.TempDir()
		r := newRig(t, Options{Directory: opened(t, dir), Index: index})
		var all []*made
		for i := range mostRecorded + 3 {
			m := new(made)
			f := writer.File{Name: nameOf(i, pcap.PCAPNG), Observer: m}
			if i == 0 {
				f.Err = io.ErrShortWrite
			}
			r.Add(f)
			all = append(all, m)
		}
		if index && (all[2].drops != 1 || all[3].drops != 0) {
			t.Errorf("%d, %d", all[2].drops, all[3].drops)
		}
		r.close()
		for i, m := range all {
			if m.drops != 1 {
				t.Errorf("index %v: file %d: dropped %d times", index, i, m.drops)
			}
		}
	}
}
