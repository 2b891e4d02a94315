package restart

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"sync/atomic"
	"unsafe"

	"capd/capture/device"
	"capd/config"
	"capd/store"
	"capd/writer"

	"golang.org/x/sys/unix"
)

// version changes when a state means something else, though its layout is the same.
const version = 1

// magic begins the memory of a state.
var magic = [8]byte{'c', 'a', 'p', 'd', 's', 't', 'a', 't'}

// maxSettings is the most bytes of an interface's settings as JSON: a longer filter is not kept.
const maxSettings = 60 << 10

// A header begins the memory of a state. It has no pointers. Its first group stays as it is in all
// versions.
type header struct {
	magic   [8]byte
	version uint64
	layout  uint64        // of everything in the memory: see layout
	tries   atomic.Uint64 // starts that tried to go on with it and did not come to record
	lane    int64
	name    [256]byte // of the interface, zeros behind it

	group   [groupLen]byte // of the recorders of one interface
	follows [groupLen]byte // group of those that it takes over from; zeros: none
	marks
	ending
	chunks   int64 // 0: it has no journal
	link     int64 // link type of the device whose ring it is
	settings int64 // bytes
	json     [maxSettings]byte
}

// marks say where the recorder is in its life: 1 is yes.
type marks struct {
	over   atomic.Uint64 // it has ended for good
	left   atomic.Uint64 // 0, or one of those below
	ringed atomic.Uint64 // a ring was kept
}

// Why a recorder is going to end.
const (
	leaves = 1 + iota // others take over
	ends              // nobody does
)

// An ending says how a recorder without a journal ended.
type ending struct {
	until    atomic.Int64  // when, in nanoseconds since 1970; 0: it has not
	recorded atomic.Uint64 // frames that it and those before it have recorded
}

// edition makes layout another one: tests build a capd that does not know what this one leaves.
var edition string

// layout identifies the layout of the memory: the program that reads it must have the same.
func layout() uint64 {
	h := fnv.New64a()
	fmt.Fprint(h, edition, writer.JournalLayout(), unsafe.Sizeof(header{}), unsafe.Sizeof(device.Account{}), journalAt())
	return h.Sum64()
}

// journalAt is where the journal begins in the memory: behind the header and the account.
func journalAt() int {
	n := unsafe.Sizeof(header{}) + unsafe.Sizeof(device.Account{})
	return int((n + 63) &^ 63)
}

// memory is what is mapped of a state.
type memory struct {
	file *os.File
	mem  []byte
}

func (m *memory) header() *header { return (*header)(unsafe.Pointer(&m.mem[0])) }

func (m *memory) account() *device.Account {
	return (*device.Account)(unsafe.Pointer(&m.mem[unsafe.Sizeof(header{})]))
}

func (m *memory) close() {
	_ = unix.Munmap(m.mem)
	_ = m.file.Close()
}

// makeState makes the memory of a state; without chunks, it has no journal.
func makeState(lane store.Lane, c *config.Interface, chunks int, group, follows string) (*memory, error) {
	settings, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	if len(settings) > maxSettings || len(lane.Interface) > len(header{}.name) {
		return nil, fmt.Errorf("the settings take %d bytes, and %d is the most that is kept", len(settings), maxSettings)
	}
	size := journalAt()
	if chunks > 0 {
		size += writer.JournalSize(chunks)
	}
	f, err := newMemory("capd-state", size)
	if err != nil {
		return nil, err
	}
	m, err := mapState(f)
	if err != nil {
		return nil, err
	}
	h := m.header()
	h.version, h.layout, h.lane, h.chunks, h.settings = version, layout(), int64(lane.Number), int64(chunks), int64(len(settings))
	copy(h.name[:], lane.Interface)
	copy(h.group[:], group)
	copy(h.follows[:], follows)
	copy(h.json[:], settings)
	h.magic = magic
	return m, nil
}

// mapState maps the memory of a state, or closes the file.
func mapState(f *os.File) (*memory, error) {
	info, err := f.Stat()
	if err == nil && info.Size() < int64(journalAt()) {
		err = io.ErrUnexpectedEOF
	}
	var mem []byte
	if err == nil {
		mem, err = unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("map the state of a recorder: %w", err)
	}
	m := &memory{f, mem}
	return m, nil
}

// isState reports whether the memory is that of a state, of whatever version.
func (m *memory) isState() bool { return m.header().magic == magic }

// lane returns the lane of the recorder.
func (m *memory) lane() store.Lane {
	h := m.header()
	return store.Lane{Interface: text(h.name[:]), Number: int(h.lane)}
}

// journal returns the journal of the recorder's writer.
func (m *memory) journal() (*writer.Journal, error) {
	return writer.NewJournal(m.mem[journalAt():], int(m.header().chunks))
}

// check returns the settings of the recorder, or an error if the memory is not that of a state of
// this version.
func (m *memory) check() (*config.Interface, error) {
	h := m.header()
	switch {
	case h.version != version || h.layout != layout():
		return nil, fmt.Errorf("another version of capd has left it (state %d.%x, and this is %d.%x)", h.version, h.layout, version, layout())
	case h.chunks < 0 || h.chunks == 1 || int64(len(m.mem)) < int64(journalAt()) || h.chunks > 1<<20 ||
		h.chunks > 0 && len(m.mem) < journalAt()+writer.JournalSize(int(h.chunks)), h.settings < 0 || h.settings > maxSettings, h.lane < 0:
		return nil, errors.New("its header is damaged")
	}
	var c config.Interface
	if err := json.Unmarshal(h.json[:h.settings], &c); err != nil {
		return nil, fmt.Errorf("its settings can't be read: %w", err)
	}
	if size := int64(c.ChunkSize); h.lane > int64(c.Fanout) || size < 4096 || size%4096 != 0 || size > 1<<40 {
		return nil, errors.New("its header is damaged")
	}
	return &c, nil
}

// newSeenMemory makes the memory of a Seen.
func newSeenMemory() (*os.File, *seenMemory, error) {
	f, err := newMemory("capd-seen", int(unsafe.Sizeof(seenMemory{})))
	if err != nil {
		return nil, nil, err
	}
	m, err := mapSeen(f)
	return f, m, err
}

// mapSeen maps the memory of a Seen.
func mapSeen(f *os.File) (*seenMemory, error) {
	size := int64(unsafe.Sizeof(seenMemory{}))
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("ask for the size of the memory of frames: %w", err)
	}
	if info.Size() != size {
		return nil, fmt.Errorf("the memory of frames has %d bytes, and not %d", info.Size(), size)
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map the memory of frames: %w", err)
	}
	return (*seenMemory)(unsafe.Pointer(&mem[0])), nil
}

func unmapSeen(m *seenMemory) {
	_ = unix.Munmap(unsafe.Slice((*byte)(unsafe.Pointer(m)), unsafe.Sizeof(*m)))
}
