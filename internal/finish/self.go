package finish

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"capd/store"
)

// A request is the input of the process that compresses; a reply is its output.
type request struct {
	Directory   string
	Name        string
	Compression Compression
	Level       int
	KeepFree    uint64
}

type reply struct {
	Path         string
	Size, Packed int64
	SHA256       string
	Error        string // empty if the compression is done
	Nothing      bool   // the error is errNothing
}

// Main compresses one file; the process that calls it is the one of
// Options.Self. It gives up when stdin ends, which happens when the Queue stops
// or its process is killed. The process must do nothing else, since its group
// gets the lowest priority.
func Main(stdin io.Reader, stdout io.Writer) error {
	return serve(stdin, stdout, func(string) {})
}

func serve(stdin io.Reader, stdout io.Writer, stage func(string)) error {
	_ = lower(0) // without it the work is done all the same
	in := json.NewDecoder(stdin)
	var r request
	if err := in.Decode(&r); err != nil {
		return fmt.Errorf("read what to compress: %w", err)
	}
	opt := Options{Compression: r.Compression, Level: r.Level, KeepFree: r.KeepFree}
	if err := opt.complete(); err != nil {
		return err
	}
	stop := make(chan struct{})
	go func() { // ends with stdin, at the latest with the process
		_, _ = io.Copy(io.Discard, stdin)
		close(stop)
	}()
	c := &compressor{dir: r.Directory, opt: opt, stop: stop, stage: stage}
	out, err := c.run(r.Name)
	answer := reply{Path: out.Path, Size: out.Size, Packed: out.Packed, SHA256: out.SHA256, Nothing: errors.Is(err, errNothing)}
	if err != nil {
		answer.Error = err.Error()
	}
	return json.NewEncoder(stdout).Encode(answer)
}

// delegate makes another process compress the file.
func (s *compressStep) delegate(name string) (Outcome, error) {
	path := filepath.Join(s.dir.Path(), name)
	out := Outcome{Path: path}
	dir, err := filepath.Abs(s.dir.Path())
	if err != nil {
		return out, err
	}
	opt := &s.pack.opt
	question, err := json.Marshal(request{dir, name, opt.Compression, opt.Level, opt.KeepFree})
	if err != nil {
		return out, err
	}
	answer, err := s.ask(question)
	if err != nil {
		if ext := opt.Compression.Ext(); ext != "" {
			_ = os.Remove(path + ext + store.Packing.Ext()) // the process is dead and can't remove it
		}
		if s.stop.Err() != nil {
			return out, errNothing
		}
		return out, err
	}
	out = Outcome{Path: answer.Path, Size: answer.Size, Packed: answer.Packed, SHA256: answer.SHA256}
	switch {
	case answer.Nothing:
		return out, errNothing
	case answer.Error != "":
		return out, errors.New(answer.Error)
	}
	return out, nil
}

// ask runs Self with one processor, since compression is never urgent.
func (s *compressStep) ask(question []byte) (reply, error) {
	var answer reply
	var stdout bytes.Buffer
	var stderr tail
	cmd := exec.CommandContext(s.kill, s.self[0], s.self[1:]...)
	cmd.Env, cmd.Dir, cmd.SysProcAttr = []string{"GOMAXPROCS=1"}, "/", separate()
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	stdin, stop, err := os.Pipe()
	if err != nil {
		return answer, err
	}
	cmd.Stdin = stdin
	err = cmd.Start()
	stdin.Close()
	if err != nil {
		stop.Close()
		return answer, err
	}
	detach := context.AfterFunc(s.stop, func() { stop.Close() })
	_, wrote := stop.Write(question)
	err = cmd.Wait()
	if detach() {
		stop.Close()
	}
	if err != nil || wrote != nil {
		return answer, fmt.Errorf("%s: %w: %s", s.self[0], errors.Join(err, wrote), bytes.TrimSpace(stderr.kept))
	}
	if err := json.Unmarshal(stdout.Bytes(), &answer); err != nil {
		return answer, fmt.Errorf("%s: read answer: %w", s.self[0], err)
	}
	return answer, nil
}
