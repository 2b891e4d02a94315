package bpf

import (
	"time"

	"capd/capture/device"
	"capd/pcap"
)

// A reader returns what the reading goroutine has read.
type reader struct {
	*source
	header int           // length of the first frame's header; 0 before the first frame
	done   chan struct{} // closed by Interrupt
}

// A buffer lends the result of one read of the device.
type buffer struct {
	records
	source *source
	whole  []byte
	batch  *device.Batch
}

func newBuffer(d *source) *buffer {
	b := &buffer{source: d, whole: make([]byte, d.length)}
	b.batch = device.NewBatch(b)
	return b
}

// Read returns the next packets of the buffer.
func (b *buffer) Read(dst []pcap.Packet) int {
	n := b.read(dst)
	if b.lost > 0 {
		b.source.corrupt.Add(uint64(b.lost))
		b.lost = 0
	}
	return n
}

// Block returns 0: read buffers have no number.
func (*buffer) Block() uint64 { return 0 }

// Len returns 0: the number of frames is not known before they are read.
func (*buffer) Len() int { return 0 }

// Err returns why the rest of the buffer could not be read, or nil.
func (b *buffer) Err() error {
	if b.reason == "" {
		return nil
	}
	return &device.CorruptError{Offset: b.off, Reason: b.reason}
}

// Release returns the buffer to the reading goroutine.
func (b *buffer) Release() {
	b.records = records{count: b.count}
	b.source.free <- b // never blocks: the channel has room for all buffers
}

// Layout returns the layout of the records in a read buffer.
func (r *reader) Layout() device.Layout {
	l := r.record
	return device.Layout{
		Unit: r.length, Header: r.header, Align: l.align,
		Resolution: time.Duration(l.tick), Clock: "system clock, in the kernel",
	}
}

// Next returns the next filled buffer, and waits for it until the timeout. The next handle
// continues with the buffers that were not returned.
func (r *reader) Next(timeout time.Duration) (*device.Batch, error) {
	select {
	case <-r.done:
		return nil, device.ErrClosed
	default:
	}
	select {
	case f, ok := <-r.full:
		return r.take(f, ok)
	default:
	}
	if timeout == 0 {
		return nil, nil
	}
	var expired <-chan time.Time
	if timeout > 0 {
		t := time.NewTimer(timeout)
		defer t.Stop()
		expired = t.C
	}
	select {
	case <-r.done:
		return nil, device.ErrClosed
	case f, ok := <-r.full:
		return r.take(f, ok)
	case <-expired:
		return nil, nil
	}
}

func (r *reader) take(f filled, ok bool) (*device.Batch, error) {
	switch {
	case !ok:
		return nil, r.end
	case f.event != nil:
		return nil, f.event
	}
	if r.header == 0 {
		r.header = f.header()
	}
	return f.batch, nil
}

// Interrupt makes a waiting Next return.
func (r *reader) Interrupt() { close(r.done) }

// Close does nothing: the buffers belong to the device.
func (*reader) Close() error { return nil }
