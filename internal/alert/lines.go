package alert

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// MaxLine is how many bytes a line may have. Suricata may put packet and payload into it.
const MaxLine = 1 << 20

// A LineError says what is wrong with a line.
type LineError struct {
	Source string
	Line   int
	Alert  *Alert // as far as it could be read; nil: not at all
	Err    error
}

func (e *LineError) Error() string { return fmt.Sprintf("%s:%d: %v", e.Source, e.Line, e.Err) }
func (e *LineError) Unwrap() error { return e.Err }

// A Parser makes alerts of the lines of one source.
type Parser struct {
	source string
	line   int
	zeek   *zeekHeader
}

// NewParser returns a parser of the lines of a source of that name.
func NewParser(source string) *Parser { return &Parser{source: source, zeek: newZeekHeader()} }

// Parse reads the next line, without its newline. It returns nil for a line that has no alert, as header lines of Zeek's. Errors
// are of type *LineError; the next line may be read after them.
func (p *Parser) Parse(line []byte) (*Alert, error) {
	p.line++
	line = bytes.TrimSuffix(line, []byte("\r"))
	var a *Alert
	var err error
	switch {
	case len(line) > MaxLine:
		err = fmt.Errorf("the line has more than %d bytes", MaxLine)
	case len(bytes.TrimSpace(line)) == 0:
		return nil, nil
	case line[0] == '#':
		err = p.zeek.read(string(line[1:]))
	case bytes.TrimLeft(line, " ")[0] != '{':
		a, err = p.zeek.parse(line)
	case isEVE(line):
		a, err = parseEVE(line)
	default:
		a, err = parseZeekJSON(line)
	}
	if a != nil {
		a.Source, a.Line = p.source, p.line
	}
	if err != nil {
		return nil, &LineError{p.source, p.line, a, err}
	}
	return a, nil
}

// Read calls each for the lines of a source, up to its end: with an alert, or with what is wrong with a line. It ends when each
// returns an error.
func Read(src io.Reader, source string, each func(*Alert, error) error) error {
	p, lines := NewParser(source), newLines(src)
	for {
		line, err := lines.next()
		if err != nil && (!errors.Is(err, io.EOF) || len(line) == 0) {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return fmt.Errorf("read %s: %w", source, err)
		}
		if a, err := p.Parse(line); a != nil || err != nil {
			if err := each(a, err); err != nil {
				return err
			}
		}
		if err != nil {
			return nil
		}
	}
}

// lines reads lines, of which it keeps no more than MaxLine bytes and one.
type lines struct {
	src  *bufio.Reader
	line []byte
}

func newLines(src io.Reader) *lines { return &lines{src: bufio.NewReaderSize(src, 64<<10)} }

// next returns the next line without its newline. At the end of the source the error is io.EOF, and the line is what is
// behind the last newline.
func (l *lines) next() ([]byte, error) {
	l.line = l.line[:0]
	return l.more()
}

// more is next for a source that had ended in the middle of a line.
func (l *lines) more() ([]byte, error) {
	for {
		part, err := l.src.ReadSlice('\n')
		ended := err == nil
		if ended {
			part = part[:len(part)-1]
		}
		l.line = append(l.line, part[:min(len(part), MaxLine+1-len(l.line))]...)
		if ended || !errors.Is(err, bufio.ErrBufferFull) {
			return l.line, err
		}
	}
}
