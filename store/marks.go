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
)

// Names of the journals of marks. Neither parses as a capture file's.
const (
	// MarksName is the journal of a directory.
	MarksName = ".capd-marks"

	// oldHooksName is what capd wrote when the hook was the only step with a
	// mark. It is taken over and removed.
	oldHooksName = ".capd-hooks"

	// hookStep is the step whose marks oldHooksName holds.
	hookStep = "hook"
)

// maxMarkLine is the longest line of a journal in bytes; capd's are far shorter.
const maxMarkLine = 16 << 10

// marksSlack is how many lines are appended to a journal, beside one for each
// file that it had, before it is worth writing it anew.
const marksSlack = 1024

// Marks remember which steps are done for the finished files of a directory,
// over restarts. Steps that leave their trace in a file's name or beside it need
// none. The methods may be called from any goroutine.
//
// The package's comment has the format of the journal.
type Marks struct {
	path  string
	steps []string // that have marks; bit i of markedFile.done is that of steps[i]

	mu    sync.Mutex // guards what follows; never held while the disk works
	files map[markKey]markedFile
	kept  int // files when the journal was last written anew
	lines int // appended since

	io   sync.Mutex // guards the journal; taken before mu
	file *os.File
	torn bool // the last write failed: its line may be cut off
}

// A markKey is a Name as a key of maps: to spell the name would take longer than
// all else, and retention asks for every file of a directory.
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

// maxMarkedSteps is how many steps the bits of a markedFile have room for.
const maxMarkedSteps = 32

// A markedFile is what is known of a file. Facts are kept until every step is
// done.
type markedFile struct {
	done  uint32
	facts *Facts
}

// Facts are what a hook is told of a file besides what its name says.
type Facts struct {
	End         time.Time `json:"end"`
	Packets     uint64    `json:"packets"`
	Bytes       uint64    `json:"bytes"`
	Lost        uint64    `json:"lost"`
	KernelDrops uint64    `json:"kernel_drops"`
	Reason      string    `json:"reason"`
	Clean       bool      `json:"clean"`
}

// A markLine is a line of the journal: the first says which steps it knows, each
// other one what is known of a file.
type markLine struct {
	Steps []string `json:"steps,omitempty"`
	File  string   `json:"file,omitempty"`
	Done  []string `json:"done,omitempty"`
	Facts *Facts   `json:"facts,omitempty"`
}

// OpenMarks reads a directory's journal and writes it anew, for the files that
// are present. A step that the journal does not
// know yet is for the files to come: it counts as done for those that are
// present. The marks of steps that are not named are forgotten.
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

// RemoveMarks removes a directory's journal: no step has marks there any more.
func RemoveMarks(dir string) error {
	if err := removeSynced(dir, MarksName, oldHooksName); err != nil {
		return fmt.Errorf("remove marks: %w", err)
	}
	return nil
}

// removeSynced removes files of a directory, for good, that may not be there.
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

// load reads the journals that are there and returns the steps that they know.
func (m *Marks) load(dir string) (known []string, err error) {
	h, err := OpenRegular(m.path, os.O_RDONLY)
	if err == nil {
		known, err = m.read(h)
		h.Close()
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	// Both are there after a crash in between, or after an older version ran.
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

// read takes over the lines of a journal and returns the steps that it knows. It
// passes over what is no line of its own: a crash may have cut one off. When the
// first line is lost it knows all steps, so that a step is done twice rather
// than never.
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

// readOldHooks adds what an older version's journal says to what is known.
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
				break // met again above
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

// Facts returns what is known of a file for which a step is not done, or nil.
func (m *Marks) Facts(file Name) *Facts {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.files[keyOf(file)].facts
}

// SetFacts notes a file's facts until all steps are done for it. They are not
// synced: a power failure may lose them, and the steps are still done.
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

// SetDone notes, on the disk, that the step is done for the file. With an error
// it is noted in memory all the same.
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

// all is the done of a file for which every step is.
func (m *Marks) all() uint32 { return uint32(1<<len(m.steps) - 1) }

// append notes what is known of the file in memory, whether the disk takes it or
// not.
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

// Bloated reports whether the journal is worth writing anew, by Compact.
func (m *Marks) Bloated() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lines > m.kept+marksSlack
}

// Compact writes the journal anew and forgets the files that are not present.
func (m *Marks) Compact(present func(file Name) bool) error {
	m.io.Lock()
	defer m.io.Unlock()
	b := m.keep(present)
	tmp := m.path + Packing.Ext()
	h, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND, DefaultFileMode)
	if err != nil {
		return fmt.Errorf("write marks: %w", err)
	}
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

// keep forgets files that are not present and returns the journal of the others.
// The caller holds io, so that no file comes meanwhile.
func (m *Marks) keep(present func(file Name) bool) []byte {
	m.mu.Lock()
	files := slices.Collect(maps.Keys(m.files))
	m.mu.Unlock()
	gone := slices.DeleteFunc(files, func(k markKey) bool { return present(k.name()) }) // which may wait for locks of its own
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, file := range gone {
		delete(m.files, file)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	_ = enc.Encode(markLine{Steps: m.steps}) // a buffer takes all, and a line has nothing that JSON has not
	for file, f := range m.files {
		_ = enc.Encode(m.line(file.name(), f))
	}
	m.kept, m.lines = len(m.files), 0
	return b.Bytes()
}

// Close closes the journal. What is known stays in memory.
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
