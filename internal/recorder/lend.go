package recorder

import (
	"capd/capture"
	"capd/pcap"
	"capd/writer"
)

// A lending is what a recorder needs to lend whole blocks of the ring to the disk.
type lending struct {
	pkts []pcap.Packet // of one block; nil until the first
}

// lend gives the batch to the writer as it is, if its memory is worth that and nothing else has to be done with
// its packets. It returns those of its packets that must be recorded in another way, and whether the writer
// has the batch now and will release it.
func (l *loop) lend(batch *capture.Batch) (rest []pcap.Packet, lent bool) {
	plain := l.phase == recording && l.before == nil && l.skip == 0 && l.after.joined == nil && !l.r.cfg.Shared.Quota.limited
	if !plain || batch.Len() > writer.MostInBlock {
		return nil, false
	}
	memory := batch.Memory()
	if memory == nil {
		return nil, false
	}
	if l.lending.pkts == nil {
		l.lending.pkts = make([]pcap.Packet, writer.MostInBlock)
	}
	pkts := l.lending.pkts[:batch.Read(l.lending.pkts)]
	if len(pkts) < batch.Len() || !l.r.writer.Lend(writer.Block{Number: batch.Block(), Frames: uint64(len(pkts)), Memory: memory, More: batch.More(), Release: batch.Release}, pkts) {
		return pkts, false
	}
	l.device.taken += uint64(len(pkts))
	return nil, true
}
