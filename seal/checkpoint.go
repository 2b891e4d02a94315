package seal

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// A Log is the log of a ledger: a Merkle tree whose leaves are the ledger's
// lines, without their newlines.
type Log struct {
	ID    string   // of 16 hexadecimal digits
	all   Frontier // of all lines
	batch Frontier // of the lines from the last checkpoint on, which is the first of them
}

// NewLog begins a log.
func NewLog() *Log {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return &Log{ID: hex.EncodeToString(b[:])}
}

// Append adds a line.
func (l *Log) Append(line []byte) {
	leaf := LeafHash(line)
	l.all.Append(leaf)
	l.batch.Append(leaf)
}

// Len returns how many lines the log has.
func (l *Log) Len() int64 { return l.all.Len() }

// Unsealed returns how many lines the log has from the last checkpoint on.
func (l *Log) Unsealed() int64 { return l.batch.Len() }

// Sealed says that a checkpoint was made of what the log has. The checkpoint's line is the next one.
func (l *Log) Sealed() { l.batch = Frontier{} }

// Frontier returns the roots of the perfect trees of the log, in base64.
func (l *Log) Frontier() string { return l.all.encode() }

// Checkpoint returns what the log is now. Origin, Epoch, Time, Clock and Next are not set.
func (l *Log) Checkpoint() Checkpoint {
	return Checkpoint{Size: l.all.Len(), Root: l.all.Root(), Log: l.ID, Lines: l.batch.Len(), Batch: l.batch.Root()}
}

// Resume returns the log of which a checkpoint was made, from the frontier that
// stands beside it. The log goes on with the line of the checkpoint.
func Resume(c *Checkpoint, frontier string) (*Log, error) {
	l := &Log{ID: c.Log}
	b, err := base64.StdEncoding.Strict().DecodeString(frontier)
	if err != nil || len(b)%HashSize != 0 {
		return nil, errors.New("the frontier is no row of hashes in base64")
	}
	ones := 0
	for n := c.Size; n > 0; n &= n - 1 {
		ones++
	}
	if len(b)/HashSize != ones {
		return nil, fmt.Errorf("the frontier has %d hashes, and %d lines have %d", len(b)/HashSize, c.Size, ones)
	}
	l.all.n = c.Size
	for ; len(b) > 0; b = b[HashSize:] {
		l.all.roots = append(l.all.roots, Hash(b[:HashSize]))
	}
	if l.all.Root() != c.Root {
		return nil, errors.New("the frontier has another root than the checkpoint")
	}
	return l, nil
}

func (f *Frontier) encode() string {
	b := make([]byte, 0, len(f.roots)*HashSize)
	for i := range f.roots {
		b = append(b, f.roots[i][:]...)
	}
	return base64.StdEncoding.EncodeToString(b)
}

// A Checkpoint says what a log is at a time. Its first three lines are those of
// C2SP's tlog-checkpoint; the others are its extension lines.
type Checkpoint struct {
	Origin string // whose log it is: the name of its keys
	Size   int64  // lines
	Root   Hash
	Log    string // ID of the log
	Epoch  uint64 // number of the key that signs
	Lines  int64  // from the checkpoint before on, whose line is the first of them
	Batch  Hash   // root of these lines
	Time   time.Time
	Clock  string // state of the system clock
	Next   string // verification key of the next epoch, whose key signs from now on; empty: the epoch goes on
}

// Text returns the text that is signed.
func (c *Checkpoint) Text() string {
	text := fmt.Sprintf("%s\n%d\n%v\nlog %s\nepoch %d\nlines %d %v\ntime %s\nclock %s\n",
		c.Origin, c.Size, c.Root, c.Log, c.Epoch, c.Lines, c.Batch, c.Time.UTC().Format(time.RFC3339Nano), c.Clock)
	if c.Next != "" {
		text += "next " + c.Next + "\n"
	}
	return text
}

// ParseCheckpoint is the inverse of Text. It takes only what Text spells.
func ParseCheckpoint(text string) (*Checkpoint, error) {
	lines := strings.Split(text, "\n")
	if len(lines) < 9 {
		return nil, errors.New("no checkpoint: too few lines")
	}
	c := &Checkpoint{Origin: lines[0]}
	var err error
	fail := func(e error) { err = errors.Join(err, e) }
	number := func(s string) int64 {
		n, e := strconv.ParseInt(s, 10, 64)
		fail(e)
		return n
	}
	hashed := func(s string) Hash {
		h, e := ParseHash(s)
		fail(e)
		return h
	}
	value := func(i int, key string) string {
		s, ok := strings.CutPrefix(lines[i], key+" ")
		if !ok {
			fail(fmt.Errorf("line %d has no %s", i+1, key))
		}
		return s
	}
	c.Size, c.Root, c.Log = number(lines[1]), hashed(lines[2]), value(3, "log")
	epoch := number(value(4, "epoch"))
	count, batch, _ := strings.Cut(value(5, "lines"), " ")
	c.Lines, c.Batch = number(count), hashed(batch)
	t, e := time.Parse(time.RFC3339Nano, value(6, "time"))
	fail(e)
	c.Time, c.Clock, c.Epoch = t, value(7, "clock"), uint64(epoch)
	if len(lines) > 9 {
		c.Next = value(8, "next")
	}
	if err != nil {
		return nil, fmt.Errorf("no checkpoint: %w", err)
	}
	if c.Size < 0 || c.Lines < 0 || c.Lines > c.Size || epoch < 0 || c.Text() != text {
		return nil, errors.New("no checkpoint: not spelled as capd spells it")
	}
	return c, nil
}

// oneLine returns text that can stand in a line of a checkpoint.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return '?'
		}
		return r
	}, strings.TrimSpace(s))
}
