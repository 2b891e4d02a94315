package writer

import (
	"capd/ledger"
	"capd/pcap"
	"capd/store"
	"io/fs"
	"log/slog"
	"time"
)

// Defaults of an Options' zero values.
const (
	DefaultChunkSize = 4 << 20
	DefaultPoolSize  = 32 << 20

	// DefaultCheckpointEvery bounds what salvage has to read of a file after a
	// crash.
	DefaultCheckpointEvery = 256 << 20
)

// Options say how to record. Zero values are defaults.
type Options struct {
	Directory       string
	Header          pcap.Header        // of every file; Header.Interface is also in the names
	RotateSize      int64              // most bytes of a file; 0: no limit
	RotateInterval  time.Duration      // files end at UTC multiples of this, whole seconds; 0: never
	SyncInterval    time.Duration      // time between two syncs of a file under way; 0: only at its end
	FlushInterval   time.Duration      // most time that a packet waits for the disk; 0: until its chunk is full
	Grace           time.Duration      // how late packets may come out of the ring
	KeepEmpty       bool               // an interval without packets leaves a file too
	FileMode        fs.FileMode        // 0: DefaultFileMode
	PoolSize        int                // bytes of all chunks together
	ChunkSize       int                // bytes of a chunk, a multiple of 4096
	NoDirect        bool               // do not try O_DIRECT
	Lane            int                // see Name
	Sequence        uint64             // the last sequence number in use; see ReadContents
	CheckpointEvery int64              // bytes of a file between two checkpoints in the ledger
	Boot            string             // id of the system's boot, for checkpoints
	Drops           func() Drops       // the kernel's counters so far, asked at each file's end; may be nil
	Note            func(ledger.Entry) // told of what no file tells, for the ledger; must not block; may be nil
	Finished        func(File)         // told of each file's end, in order, in the background; may be nil
	Log             *slog.Logger       // may be nil
}

// Drops are counters of what was lost before Write, since the start.
type Drops struct {
	Kernel, Freezes, NIC uint64
	Discarded            uint64 // frames that the interface's statistics call dropped: no loss
	Unread               uint64 // frames that came from the kernel and could not be read
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
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}
