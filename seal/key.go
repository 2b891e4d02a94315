package seal

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode"

	"capd/store"

	"golang.org/x/mod/sumdb/note"
)

// Endings of the files of a directory's keys. All have the same name before
// these: the directory's path, escaped.
const (
	keyEnding   = ".key"      // the present key
	nextEnding  = ".key.next" // the next key, until it is the present one
	oldEnding   = ".key.old"  // the key before, until it is wiped
	markEnding  = ".mark"     // what is sealed: see Mark
	firstEnding = ".pub"      // verification key of the first epoch
	chainEnding = ".chain"    // see ChainName
)

// ChainName is the name of the file, in a directory of recordings, that has the
// last checkpoint of each epoch: each is signed by the epoch's key, and names
// the next one. Each line is the signed note as a string of JSON.
const ChainName = "seal.chain"

var errNoSeed = errors.New("the seed is not that of the verification key: the file was changed, or is of another version of capd")

// A KeyError says why a directory has no key that can be used.
type KeyError struct {
	Directory string
	Err       error
}

// Error says which directory, and why.
func (e *KeyError) Error() string {
	if errors.Is(e.Err, fs.ErrNotExist) {
		return fmt.Sprintf("directory %s: there is no key to seal with: %v", e.Directory, e.Err)
	}
	return fmt.Sprintf("directory %s: the key to seal with: %v", e.Directory, e.Err)
}

// Unwrap returns the cause.
func (e *KeyError) Unwrap() error { return e.Err }

// Hints say what to do.
func (e *KeyError) Hints() []string {
	switch {
	case errors.Is(e.Err, fs.ErrNotExist):
		return []string{"make keys: capd seal init, as root or as the user that records"}
	case errors.Is(e.Err, fs.ErrPermission):
		return []string{"the folder that keys in [seal] names, and the files in it, must belong to the user that records: chown -R"}
	}
	return nil
}

// A Key signs the checkpoints of a directory's log. It evolves: each epoch has
// one of its own, and when the next begins it is wiped. Who holds the
// directory's lock uses it, in one goroutine.
type Key struct {
	base   string // path of its files, without their endings
	state  keyState
	signer *signer

	// Clock says in one line what is known of the system clock, for checkpoints. It
	// may be nil.
	Clock func() string
}

// Init makes the first key of the directory of recordings, with files in keys,
// and returns its verification key. If there is one already, it returns that,
// and created is false.
func Init(keys, directory, host string) (verifier string, created bool, err error) {
	base := filepath.Join(keys, escape(directory))
	switch b, err := os.ReadFile(base + firstEnding); {
	case err == nil:
		return strings.TrimSpace(string(b)), false, nil
	case !errors.Is(err, fs.ErrNotExist):
		return "", false, err
	}
	if _, err := os.Lstat(base + keyEnding); err == nil { // Init was cut off between the two files
		k, err := Open(keys, directory)
		if err != nil {
			return "", false, err
		}
		return k.Verifier(), false, writeNew(base+firstEnding, []byte(k.Verifier()+"\n"))
	}
	first, err := newState(directory, originOf(host, directory), 0)
	if err != nil {
		return "", false, err
	}
	defer clear(first.Seed)
	if err := first.write(base + keyEnding); err != nil {
		return "", false, err
	}
	return first.Verifier, true, writeNew(base+firstEnding, []byte(first.Verifier+"\n"))
}

// Open reads the present key of a directory of recordings, and finds out whether
// it can be replaced. The error is a *KeyError.
func Open(keys, directory string) (*Key, error) {
	k := &Key{base: filepath.Join(keys, escape(directory))}
	if err := k.open(); err != nil {
		return nil, &KeyError{directory, err}
	}
	return k, nil
}

func (k *Key) open() error {
	path := k.base + keyEnding
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(k.base + oldEnding); err == nil {
			path = k.base + oldEnding // a crash cut an evolution off: see Recover
		}
	}
	if err := k.use(path); err != nil {
		return err
	}
	try, err := os.CreateTemp(filepath.Dir(k.base), ".try-")
	if err != nil {
		return err
	}
	return errors.Join(try.Close(), os.Remove(try.Name()))
}

// use reads the key that signs from now on, and clears the one before.
func (k *Key) use(path string) error {
	h, err := os.OpenFile(path, os.O_RDWR, 0) // as it will be overwritten
	if err != nil {
		return err
	}
	defer h.Close()
	state, err := readState(h)
	var s *signer
	if err == nil {
		s, err = state.signer()
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if k.signer != nil {
		clear(k.signer.private)
	}
	k.state, k.signer = *state, s
	return nil
}

// Verifier returns the present verification key, as package note spells it.
func (k *Key) Verifier() string { return k.state.Verifier }

// Epoch returns the number of the present key, and since when it is that.
func (k *Key) Epoch() (n uint64, since time.Time) { return k.state.Epoch, k.state.Since }

// Sign signs the checkpoint in the name of the key, at the present time.
func (k *Key) Sign(c Checkpoint) (string, error) {
	c.Origin, c.Epoch, c.Clock = k.signer.Name(), k.state.Epoch, "unknown"
	if k.Clock != nil {
		c.Clock = cmp.Or(oneLine(k.Clock()), c.Clock)
	}
	c.Time = time.Now().UTC()
	b, err := note.Sign(&note.Note{Text: c.Text()}, k.signer)
	return string(b), err
}

// Prepare makes the next key and returns its verification key, for the last
// checkpoint of this epoch. The key is on the disk before that is.
func (k *Key) Prepare() (string, error) {
	next, err := newState(k.state.Directory, k.signer.Name(), k.state.Epoch+1)
	if err != nil {
		return "", err
	}
	if err := wipe(k.base + nextEnding); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	defer clear(next.Seed)
	if err := next.write(k.base + nextEnding); err != nil {
		return "", err
	}
	return next.Verifier, nil
}

// Evolve begins the next epoch, when the last checkpoint of this one, which
// names the next key, is on the disk in the ledger. The old key is wiped when
// the chain, in the directory of recordings too, has that checkpoint.
func (k *Key) Evolve(last, directory string, mode fs.FileMode) error {
	if err := addToChain(k.base+chainEnding, last); err != nil {
		return err
	}
	if err := k.CopyChain(directory, mode); err != nil {
		return err
	}
	if err := os.Rename(k.base+keyEnding, k.base+oldEnding); err != nil {
		return err
	}
	if err := os.Rename(k.base+nextEnding, k.base+keyEnding); err != nil {
		return errors.Join(err, os.Rename(k.base+oldEnding, k.base+keyEnding))
	}
	if err := store.SyncDirectory(filepath.Dir(k.base)); err != nil {
		return err
	}
	return errors.Join(k.use(k.base+keyEnding), wipe(k.base+oldEnding))
}

// Recover completes an evolution that a crash cut off. last is the last
// checkpoint of the ledger that names a next key; empty if it has none.
func (k *Key) Recover(last, directory string, mode fs.FileMode) error {
	if err := k.recoverOld(); err != nil {
		return err
	}
	h, err := os.Open(k.base + nextEnding)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	next, err := readState(h)
	h.Close()
	if next != nil {
		clear(next.Seed)
	}
	if err == nil && last != "" {
		if c, err := Verify(last, k.Verifier()); err == nil && c.Next == next.Verifier {
			return k.Evolve(last, directory, mode)
		}
	}
	return wipe(k.base + nextEnding) // no ledger names it
}

// recoverOld wipes the key before, or makes it the present one again if the next
// one has not become that.
func (k *Key) recoverOld() error {
	if _, err := os.Lstat(k.base + oldEnding); err != nil {
		return nil
	}
	if _, err := os.Lstat(k.base + keyEnding); err == nil {
		return wipe(k.base + oldEnding)
	}
	return errors.Join(os.Rename(k.base+oldEnding, k.base+keyEnding), store.SyncDirectory(filepath.Dir(k.base)))
}

// A Mark says what of a log is sealed, so that nobody without the key can cut off
// its end unseen while nothing records.
type Mark struct {
	Log  string    `json:"log"`
	Size int64     `json:"size"` // lines
	Root string    `json:"root"`
	Time time.Time `json:"time"`
}

// Remember keeps the mark beside the key. The lines are on the disk.
func (k *Key) Remember(m Mark) error {
	m.Time = time.Now().UTC()
	b, err := json.Marshal(&m)
	if err != nil {
		return err
	}
	return replace(k.base+markEnding, append(b, '\n'), 0o600)
}

// Remembered returns the mark; nil if there is none that can be read.
func (k *Key) Remembered() (*Mark, error) {
	b, err := os.ReadFile(k.base + markEnding)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	m := &Mark{}
	if err == nil {
		err = json.Unmarshal(b, m)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", k.base+markEnding, err)
	}
	return m, nil
}

// CopyChain brings the chain in the directory of recordings up to date.
func (k *Key) CopyChain(directory string, mode fs.FileMode) error {
	b, err := os.ReadFile(k.base + chainEnding)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	to := filepath.Join(directory, ChainName)
	if there, err := os.ReadFile(to); err == nil && string(there) == string(b) {
		return nil
	} else if err == nil && strings.HasPrefix(string(b), string(there)) {
		return appendSynced(to, b[len(there):])
	}
	return replace(to, b, mode)
}

// Verify returns the checkpoint of a signed note, if the verification key has
// signed it.
func Verify(signed, verifier string) (*Checkpoint, error) {
	v, err := note.NewVerifier(verifier)
	if err != nil {
		return nil, err
	}
	n, err := note.Open([]byte(signed), note.VerifierList(v))
	if err != nil {
		return nil, err
	}
	c, err := ParseCheckpoint(n.Text)
	if err == nil && c.Origin != v.Name() {
		return nil, errors.New("the checkpoint is another's")
	}
	return c, err
}

// Peek returns the checkpoint of a signed note without a look at the signature.
func Peek(signed string) (*Checkpoint, error) {
	text, _, ok := strings.Cut(signed, "\n\n")
	if !ok {
		return nil, errors.New("no signed note")
	}
	return ParseCheckpoint(text + "\n")
}

// CheckVerifier returns an error if it is no verification key.
func CheckVerifier(verifier string) error {
	_, err := note.NewVerifier(verifier)
	return err
}

// Fingerprint is for people to compare verification keys.
func Fingerprint(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	var groups []string
	for i := 0; i < 20; i += 2 {
		groups = append(groups, hex.EncodeToString(sum[i:i+2]))
	}
	return strings.Join(groups, " ")
}

// ReadChain returns the signed notes of a chain. It takes only what capd spells.
func ReadChain(b []byte) (notes []string, err error) {
	for line := range strings.Lines(string(b)) {
		var s string
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			return notes, err
		}
		if again, err := json.Marshal(s); err != nil || string(again)+"\n" != line {
			return notes, errors.New("not spelled as capd spells it")
		}
		notes = append(notes, s)
	}
	return notes, nil
}

// addToChain appends the note, unless it is the last already.
func addToChain(path, signed string) error {
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	line, err := json.Marshal(signed)
	if err != nil {
		return err
	}
	line = append(line, '\n')
	if i := strings.LastIndexByte(string(b), '\n') + 1; i < len(b) { // a torn line
		if err := os.Truncate(path, int64(i)); err != nil {
			return err
		}
		b = b[:i]
	}
	if strings.HasSuffix(string(b), string(line)) {
		return nil
	}
	return appendSynced(path, line)
}

func appendSynced(path string, b []byte) error {
	h, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
	if err != nil {
		return err
	}
	store.GiveToOwner(h)
	_, err = h.Write(b)
	return errors.Join(err, h.Sync(), h.Close(), store.SyncDirectory(filepath.Dir(path)))
}

// writeNew makes a file that was not there, for its owner alone.
func writeNew(path string, b []byte) error {
	h, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	store.GiveToOwner(h)
	_, err = h.Write(b)
	return errors.Join(err, h.Sync(), h.Close(), store.SyncDirectory(filepath.Dir(path)))
}

// replace makes a file whole or not at all.
func replace(path string, b []byte, mode fs.FileMode) error {
	tmp := path + ".new"
	_ = os.Remove(tmp)
	if err := writeNew(tmp, b); err != nil {
		return err
	}
	return errors.Join(os.Chmod(tmp, mode), os.Rename(tmp, path), store.SyncDirectory(filepath.Dir(path)))
}

// wipe overwrites a file and removes it.
func wipe(path string) error {
	h, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(overwrite(h), h.Close(), os.Remove(path))
}

// overwrite writes zeros over a file. Whether the old bytes are gone from the
// medium is up to the file system and the disk.
func overwrite(h *os.File) error {
	info, err := h.Stat()
	if err != nil {
		return err
	}
	_, err = h.WriteAt(make([]byte, info.Size()), 0)
	return errors.Join(err, h.Sync())
}

// escape makes the name of a file of a path.
func escape(path string) string {
	var b strings.Builder
	for _, c := range []byte(strings.TrimPrefix(filepath.Clean(path), "/")) {
		switch {
		case c == '/':
			b.WriteByte('-')
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '.':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02x", c)
		}
	}
	return b.String()
}

// originOf names the log of a directory. Names of keys have neither spaces nor a
// plus, and so that lines stay short, at most 100 bytes.
func originOf(host, directory string) string {
	s := strings.Map(func(r rune) rune {
		if r == '+' || unicode.IsSpace(r) || unicode.IsControl(r) || r > unicode.MaxASCII {
			return '-'
		}
		return r
	}, "capd/"+host+directory)
	return s[:min(len(s), 100)]
}
