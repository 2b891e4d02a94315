package store

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"capd/pcap"

	"golang.org/x/sys/unix"
)

// Names of the journals of marks. Neither parses as a capture file's.
const (
	// MarksName is the name of a directory's journal of marks.
	MarksName = ".capd-marks"

	// oldHooksName is the journal of older versions, in which only the hook had marks. Its content
	// is converted, and it is removed.
	oldHooksName = ".capd-hooks"

	// hookStep is the step whose marks oldHooksName holds.
	hookStep = "hook"
)

// maxMarkLine is the longest line of a journal in bytes. Lines that capd writes are far shorter.
const maxMarkLine = 16 << 10

// marksSlack is how many lines may be appended to a journal, in addition to one for each of its
// files, before it is rewritten.
const marksSlack = 1024

// Marks store which steps are done for the finished files of a directory, over restarts. Steps
// whose result is visible in the files' names need no marks. The methods may be called from any
// goroutine.
//
// The package comment describes the format of the journal.
type Marks struct {
	path  string
	steps []string // steps that have marks; bit i of markedFile.done belongs to steps[i]

	mu    sync.Mutex // guards the fields below; never held during disk operations
	files map[markKey]markedFile
	kept  int // number of files when the journal was last rewritten
	lines int // number of lines appended since then

	io   sync.Mutex // guards the journal; locked before mu
	file *os.File
	torn bool // the last write failed, so the last line may be incomplete
}

// A markKey is a Name as a map key. Using the formatted name would be too slow: retention queries
// every file of a directory.
type markKey struct {
	iface    string
	start    int64 // seconds since 1970
	sequence uint64
	lane     int
	format   pcap.Format
}

func keyOf(n Name) markKey { return markKey{n.Interface, n.Start.Unix(), n.Sequence, n.Lane, n.Format} }

func (k markKey) name() Name {
	return Name{Interface: k.iface, Start: time.Unix(k.start, 0).UTC(), Sequence: k.sequence, Lane: k.lane, Format: k.format}
}

// maxMarkedSteps is the number of bits in markedFile.done.
const maxMarkedSteps = 32

// A markedFile is what is known about a file. Facts are kept until every step is done.
type markedFile struct {
	done  uint32
	facts *Facts
}

// Facts are what a hook receives about a file in addition to its name.
type Facts struct {
	End         time.Time `json:"end"`
	Packets     uint64    `json:"packets"`
	Bytes       uint64    `json:"bytes"`
	Lost        uint64    `json:"lost"`
	KernelDrops uint64    `json:"kernel_drops"`
	Reason      string    `json:"reason"`
	Clean       bool      `json:"clean"`
}

// A markLine is a line of the journal: the first line lists the steps, each other line describes a
// file.
type markLine struct {
	Steps []string `json:"steps,omitempty"`
	File  string   `json:"file,omitempty"`
	Done  []string `json:"done,omitempty"`
	Facts *Facts   `json:"facts,omitempty"`
}

// OpenMarks reads a directory's journal and rewrites it for the files that are present. A step that
// the journal does not list is new, and counts as done for the present files. The marks of steps
// that are not in steps are dropped.
func OpenMarks(dir string, steps []string, present []Name) (*Marks, error) {
	if len(steps) > maxMarkedSteps {
		return nil, fmt.Errorf("marks of %d steps: more than %d", len(steps), maxMarkedSteps)
	}
	m := &Marks{path: filepath.Join(dir, MarksName), steps: steps, files: make(map[markKey]markedFile)}
	known, err := m.load(dir)
	if err != nil {
		return nil, fmt.Errorf("read marks: %w", err)
	}
	for i, step := range steps {
		if slices.Contains(known, step) {
			continue
		}
		for _, file := range present {
			f := m.files[keyOf(file)]
			f.done |= 1 << i
			m.files[keyOf(file)] = f
		}
	}
	here := make(map[markKey]bool, len(present))
	for _, file := range present {
		here[keyOf(file)] = true
	}
	if err := m.Compact(func(file Name) bool { return here[keyOf(file)] }); err != nil {
		return nil, err
	}
	if err := removeSynced(dir, oldHooksName); err != nil {
		return nil, errors.Join(fmt.Errorf("remove the journal of an older version: %w", err), m.Close())
	}
	return m, nil
}

// RemoveMarks removes a directory's journal, because no step has marks any more.
func RemoveMarks(dir string) error {
	if err := removeSynced(dir, MarksName, oldHooksName); err != nil {
		return fmt.Errorf("remove marks: %w", err)
	}
	return nil
}

// removeSynced removes files of a directory, which need not exist, and syncs the directory.
func removeSynced(dir string, names ...string) error {
	removed := false
	for _, name := range names {
		switch err := os.Remove(filepath.Join(dir, name)); {
		case err == nil:
			removed = true
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	if !removed {
		return nil
	}
	return SyncDirectory(dir)
}

// load reads the existing journals and returns the steps that they list.
func (m *Marks) load(dir string) (known []string, err error) {
	h, err := OpenRegular(m.path, os.O_RDONLY)
	if err == nil {
		known, err = m.read(h)
		h.Close()
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	// Both journals exist after a crash during the conversion, or after an older version ran.
	h, err = OpenRegular(filepath.Join(dir, oldHooksName), os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return known, nil
	}
	if err != nil {
		return nil, err
	}
	defer h.Close()
	return append(slices.Clip(known), hookStep), m.readOldHooks(h)
}

// read reads the lines of a journal and returns the steps that it lists. It skips malformed lines:
// a crash may have truncated one. If the first line is missing, all steps count as listed, because
// doing a step twice is better than never.
func (m *Marks) read(r io.Reader) (known []string, err error) {
	known = m.steps
	err = eachMarkLine(r, func(line []byte) {
		var l markLine
		if json.Unmarshal(line, &l) != nil {
			return
		}
		if l.Steps != nil {
			known = l.Steps
		}
		name, err := ParseName(l.File)
		if err != nil {
			return
		}
		f := markedFile{facts: l.Facts}
		for _, step := range l.Done {
			if i := slices.Index(m.steps, step); i >= 0 {
				f.done |= 1 << i
			}
		}
		m.files[keyOf(name)] = f
	})
	return known, err
}

// readOldHooks adds the content of an older version's journal.
func (m *Marks) readOldHooks(r io.Reader) error {
	hook := slices.Index(m.steps, hookStep)
	return eachMarkLine(r, func(line []byte) {
		var l struct {
			File  string `json:"file"`
			Done  bool   `json:"done"`
			Facts *Facts `json:"facts"`
		}
		if hook < 0 || json.Unmarshal(line, &l) != nil {
			return
		}
		name, err := ParseName(l.File)
		if err != nil {
			return
		}
		f := m.files[keyOf(name)]
		if l.Done {
			f.done |= 1 << hook
		}
		if l.Facts != nil {
			f.facts = l.Facts
		}
		m.files[keyOf(name)] = f
	})
}

// eachMarkLine calls f for each line that is not too long.
func eachMarkLine(r io.Reader, f func(line []byte)) error {
	in := bufio.NewReaderSize(r, maxMarkLine)
	for {
		line, tooLong, err := in.ReadLine()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if !tooLong {
			f(line)
		}
		for more := tooLong; more; {
			if _, more, err = in.ReadLine(); err != nil {
				break // ReadLine will return the error again
			}
		}
	}
}

// Done reports whether the step is done for the file. A step without marks is
// never done.
func (m *Marks) Done(file Name, step string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := slices.Index(m.steps, step)
	return i >= 0 && m.files[keyOf(file)].done&(1<<i) != 0
}

// Facts returns what is known about a file for which a step is not done, or nil.
func (m *Marks) Facts(file Name) *Facts {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.files[keyOf(file)].facts
}

// SetFacts stores a file's facts until all steps are done for it. They are not synced: if a power
// failure loses them, the steps are done without them.
func (m *Marks) SetFacts(file Name, facts Facts) error {
	m.io.Lock()
	defer m.io.Unlock()
	f := m.at(file)
	if f.done == m.all() {
		return nil
	}
	f.facts = &facts
	return m.append(file, f)
}

// SetDone stores on disk that the step is done for the file. After an error it is still stored in
// memory.
func (m *Marks) SetDone(file Name, step string) error {
	m.io.Lock()
	defer m.io.Unlock()
	i := slices.Index(m.steps, step)
	if i < 0 {
		return fmt.Errorf("step %s has no marks", step)
	}
	f := m.at(file)
	f.done |= 1 << i
	if f.done == m.all() {
		f.facts = nil
	}
	if err := m.append(file, f); err != nil {
		return err
	}
	return m.file.Sync()
}

func (m *Marks) at(file Name) markedFile {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.files[keyOf(file)]
}

// all is the value of markedFile.done when every step is done.
func (m *Marks) all() uint32 { return uint32(1<<len(m.steps) - 1) }

// append stores what is known about the file, in memory even if the disk fails.
func (m *Marks) append(file Name, f markedFile) error {
	m.mu.Lock()
	m.files[keyOf(file)] = f
	m.lines++
	m.mu.Unlock()
	var b bytes.Buffer
	if m.torn {
		b.WriteByte('\n')
	}
	if err := json.NewEncoder(&b).Encode(m.line(file, f)); err != nil {
		return err
	}
	_, err := m.file.Write(b.Bytes())
	m.torn = err != nil
	return err
}

func (m *Marks) line(file Name, f markedFile) markLine {
	l := markLine{File: file.String(), Facts: f.facts}
	for i, step := range m.steps {
		if f.done&(1<<i) != 0 {
			l.Done = append(l.Done, step)
		}
	}
	return l
}

// Bloated reports whether the journal should be rewritten by Compact.
func (m *Marks) Bloated() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lines > m.kept+marksSlack
}

// Compact rewrites the journal without the files that are not present.
func (m *Marks) Compact(present func(file Name) bool) error {
	m.io.Lock()
	defer m.io.Unlock()
	b := m.keep(present)
	tmp := m.path + Packing.Ext()
	h, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND|unix.O_NOFOLLOW, DefaultFileMode)
	if err != nil {
		return &UnfitError{fmt.Errorf("write marks: %w", err)}
	}
	GiveToOwner(h)
	_, err = h.Write(b)
	if err = errors.Join(err, h.Sync()); err == nil {
		err = os.Rename(tmp, m.path)
	}
	if err != nil {
		h.Close()
		return fmt.Errorf("write marks: %w", err)
	}
	if m.file != nil {
		m.file.Close()
	}
	m.file, m.torn = h, false
	return SyncDirectory(filepath.Dir(m.path))
}

// keep drops files that are not present and returns the journal of the others. The caller holds io,
// so that no file is added meanwhile.
func (m *Marks) keep(present func(file Name) bool) []byte {
	m.mu.Lock()
	files := slices.Collect(maps.Keys(m.files))
	m.mu.Unlock()
	gone := slices.DeleteFunc(files, func(k markKey) bool { return present(k.name()) }) // mu is not held: present may wait for other locks
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, file := range gone {
		delete(m.files, file)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	_ = enc.Encode(markLine{Steps: m.steps}) // never fails: a buffer accepts everything, and all types can be encoded
	for file, f := range m.files {
		_ = enc.Encode(m.line(file.name(), f))
	}
	m.kept, m.lines = len(m.files), 0
	return b.Bytes()
}

// Close closes the journal. Marks in memory can still be queried.
func (m *Marks) Close() error {
	m.io.Lock()
	defer m.io.Unlock()
	if m.file == nil {
		return nil
	}
	if err := m.file.Close(); !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}
