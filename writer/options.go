package writer

import (
	"io/fs"
	"log/slog"
	"os"
	"time"

	"capd/crypt"
	"capd/ledger"
	"capd/pcap"
	"capd/store"
)

// Defaults for zero values in Options.
const (
	DefaultChunkSize = 4 << 20
	DefaultPoolSize  = 32 << 20

	// DefaultCheckpointEvery limits how many bytes of a file salvage has to read after a crash.
	DefaultCheckpointEvery = 256 << 20
)

// Options say how to record. Zero values select the defaults.
type Options struct {
	Directory       string
	Header          pcap.Header                        // of every file; Header.Interface is also part of the file names
	RotateSize      int64                              // largest size of a file in bytes; 0: no limit
	RotateInterval  time.Duration                      // files end at UTC multiples of this, whole seconds; 0: never
	SyncInterval    time.Duration                      // time between two syncs of an unfinished file; 0: sync only at its end
	FlushInterval   time.Duration                      // longest time that a packet waits before it is written; 0: until its chunk is full
	Grace           time.Duration                      // how long after its time a packet may still come out of the ring
	KeepEmpty       bool                               // an interval without packets produces a file too
	FileMode        fs.FileMode                        // 0: DefaultFileMode
	PoolSize        int                                // bytes of all chunks together
	ChunkSize       int                                // bytes of a chunk, a multiple of 4096
	NoDirect        bool                               // do not try O_DIRECT
	Recipients      *crypt.Recipients                  // files are encrypted for them, and ChunkSize is a multiple of crypt.PieceSize; nil: files are not encrypted
	Lane            int                                // see Name
	Sequence        uint64                             // the highest sequence number in use; see ReadContents
	CheckpointEvery int64                              // bytes of a file between two checkpoints in the ledger
	Journal         *Journal                           // where the Writer notes what it has recorded, and finds what one before it has; nil: nowhere that outlives it
	Memory          *os.File                           // of the chunks; nil: the Writer makes its own
	Boot            string                             // id of the system's boot, for checkpoints
	Here            func() error                       // returns an error while another directory, or none, is at the path: no file is made there; may take as long as the disk does; may be nil
	Drops           func() Drops                       // returns the kernel's counters; called at each file's end; may be nil
	Note            func(ledger.Entry)                 // receives ledger entries that belong to no file; must not block; may be nil
	Digest          func() *Digester                   // returns who makes the digest of a new file; nil: nobody; may be nil
	Observe         func(pcap.Header, []byte) Observer // returns who is told of the records of a new file, which begins with these bytes; nil: nobody; may be nil
	Finished        func(File)                         // receives the report of each file at its end, in order, from a background goroutine; may be nil
	Log             *slog.Logger                       // may be nil
}

// Drops count frames that were lost before they reached Write, since the start.
type Drops struct {
	Kernel, Freezes, NIC uint64
	Discarded            uint64 // frames that the interface's statistics call dropped: no loss
	Unread               uint64 // frames that came from the kernel and could not be read
}

// minus returns the differences, modulo 2^64.
func (d Drops) minus(e Drops) Drops {
	return Drops{
		Kernel: d.Kernel - e.Kernel, Freezes: d.Freezes - e.Freezes, NIC: d.NIC - e.NIC,
		Discarded: d.Discarded - e.Discarded, Unread: d.Unread - e.Unread,
	}
}

func (o *Options) setDefaults() {
	if o.ChunkSize == 0 {
		o.ChunkSize = DefaultChunkSize
	}
	if o.PoolSize == 0 {
		o.PoolSize = DefaultPoolSize
	}
	if o.CheckpointEvery == 0 {
		o.CheckpointEvery = DefaultCheckpointEvery
	}
	o.PoolSize = max(o.PoolSize, 2*o.ChunkSize)
	if o.FileMode == 0 {
		o.FileMode = store.DefaultFileMode
	}
	if o.Note == nil {
		o.Note = func(ledger.Entry) {}
	}
	if o.Here == nil {
		o.Here = func() error { return nil }
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}
