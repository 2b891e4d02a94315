package after

import (
	"bufio"
	"bytes"
	"capd/ledger"
	"capd/store"
	"capd/writer"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// journalName is the file that says for which files the hook is done. Its name
// does not parse as a capture file's.
const journalName = ".capd-hooks"

// maxLine is the longest line of a journal in bytes; capd's are far shorter.
const maxLine = 16 << 10

// slackLines is how many lines are appended to a journal, beside one for each
// file that it had, before it is shortened.
const slackLines = 1024

// A journal is a file of JSON lines, each an entry. It is appended to, and
// shortened to the files that are still there.
type journal struct {
	path string

	mu      sync.Mutex // never held while the disk works: Add waits for it
	entries map[string]entry
	kept    int // entries when the file was last written anew
	lines   int // appended since

	io   sync.Mutex // guards the file; taken before mu
	file *os.File
	torn bool // the last write failed: its line may be cut off
}

// An entry is what is known of a file; the last one of a name counts.
type entry struct {
	File  string `json:"file"`
	Done  bool   `json:"done,omitempty"`
	Facts *facts `json:"facts,omitempty"`
}

// Facts are what the hook is told besides what the name says.
type facts struct {
	End         time.Time     `json:"end"`
	Packets     uint64        `json:"packets"`
	Bytes       uint64        `json:"bytes"`
	Lost        uint64        `json:"lost"`
	KernelDrops uint64        `json:"kernel_drops"`
	Reason      ledger.Reason `json:"reason"`
	Clean       bool          `json:"clean"`
}

func factsOf(f writer.File) facts {
	return facts{
		End: f.End, Packets: f.Packets, Bytes: f.Bytes, Lost: f.Lost, KernelDrops: f.KernelDrops,
		Reason: f.Reason, Clean: f.Reason != "" && f.Reason != ledger.ReasonError,
	}
}

// openJournal reads the directory's journal, of the files that are there. The
// first one takes them all as done.
func openJournal(dir string, files map[string]presence) (*journal, error) {
	j := &journal{path: filepath.Join(dir, journalName)}
	h, err := os.Open(j.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		j.entries = make(map[string]entry)
		for name := range files {
			j.entries[name] = entry{File: name, Done: true}
		}
	case err != nil:
		return nil, fmt.Errorf("open journal: %w", err)
	default:
		j.entries, err = readJournal(h)
		h.Close()
		if err != nil {
			return nil, fmt.Errorf("read journal: %w", err)
		}
	}
	return j, j.compact(files)
}

// readJournal passes over what is no entry of a capture file: a crash may have
// cut a line off.
func readJournal(r io.Reader) (map[string]entry, error) {
	entries := make(map[string]entry)
	in := bufio.NewReaderSize(r, maxLine)
	for {
		line, tooLong, err := in.ReadLine()
		if errors.Is(err, io.EOF) {
			return entries, nil
		}
		if err != nil {
			return nil, err
		}
		for more := tooLong; more; {
			if _, more, err = in.ReadLine(); err != nil {
				break // met again above
			}
		}
		var e entry
		if tooLong || json.Unmarshal(line, &e) != nil {
			continue
		}
		if _, err := store.ParseName(e.File); err == nil {
			entries[e.File] = e
		}
	}
}

// isDone reports whether the hook is done for the file.
func (j *journal) isDone(name string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.entries[name].Done
}

// facts returns what is known of a file that is not done, or nil.
func (j *journal) facts(name string) *facts {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.entries[name].Facts
}

// todo notes a file's facts until the hook is done. It is not synced: a power
// failure may lose the facts, and the hook still runs.
func (j *journal) todo(name string, f facts) error {
	j.io.Lock()
	defer j.io.Unlock()
	if j.isDone(name) {
		return nil
	}
	return j.append(entry{File: name, Facts: &f})
}

// done notes, on the disk, that the hook is done for the file.
func (j *journal) done(name string) error {
	j.io.Lock()
	defer j.io.Unlock()
	if err := j.append(entry{File: name, Done: true}); err != nil {
		return err
	}
	return j.file.Sync()
}

// append notes the entry in memory, whether the disk takes it or not.
func (j *journal) append(e entry) error {
	j.mu.Lock()
	j.entries[e.File] = e
	j.lines++
	j.mu.Unlock()
	var b bytes.Buffer
	if j.torn {
		b.WriteByte('\n')
	}
	if err := json.NewEncoder(&b).Encode(e); err != nil {
		return err
	}
	_, err := j.file.Write(b.Bytes())
	j.torn = err != nil
	return err
}

// bloated reports whether the journal is worth shortening.
func (j *journal) bloated() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.lines > j.kept+slackLines
}

// compact writes the journal anew, of the files that are there.
func (j *journal) compact(files map[string]presence) error {
	j.io.Lock()
	defer j.io.Unlock()
	b := j.keep(files)
	tmp := j.path + Temporary
	h, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND, store.DefaultFileMode)
	if err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	_, err = h.Write(b)
	if err = errors.Join(err, h.Sync()); err == nil {
		err = os.Rename(tmp, j.path)
	}
	if err != nil {
		h.Close()
		return fmt.Errorf("write journal: %w", err)
	}
	if j.file != nil {
		j.file.Close()
	}
	j.file, j.torn = h, false
	return store.SyncDirectory(filepath.Dir(j.path))
}

// keep forgets files that are not there and returns the lines of the others.
func (j *journal) keep(files map[string]presence) []byte {
	j.mu.Lock()
	defer j.mu.Unlock()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	for name, e := range j.entries {
		if files[name] == 0 {
			delete(j.entries, name)
			continue
		}
		_ = enc.Encode(e) // a buffer takes all, and an entry has nothing that JSON has not
	}
	j.kept, j.lines = len(j.entries), 0
	return b.Bytes()
}

func (j *journal) close() error {
	j.io.Lock()
	defer j.io.Unlock()
	if err := j.file.Close(); !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}
