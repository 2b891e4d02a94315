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

	"capd/flow"
	"capd/seal"
	"capd/store"
)

// A request is the input of the process that does a step; a reply is its
// output.
type request struct {
	Step        string
	Directory   string
	Name        string
	Compression Compression
	Level       int
	Seekable    bool
	KeepFree    uint64
	Rows        *flow.Rows // Index: of the file; nil: they are not known. Their data follows the request
	Data        int        // bytes of it
}

type reply struct {
	Path         string
	Size, Packed int64
	SHA256       string
	Table        int64
	Recorded     bool
	Digest       seal.Digest
	Error        string // empty if the step is done
	Nothing      bool   // the error is errNothing
}

// Main does a step, Seal, Index or Compress, for one file; the process that calls it
// is the one of Options.Self. It gives up when stdin ends, which happens when
// the Queue stops or its process is killed. The process must do nothing else,
// since its group gets the lowest priority.
func Main(stdin io.Reader, stdout io.Writer) error {
	return serve(stdin, stdout, func(string) {})
}

func serve(stdin io.Reader, stdout io.Writer, stage func(string)) error {
	_ = lower(0) // without it the work is done all the same
	in := json.NewDecoder(stdin)
	var r request
	if err := in.Decode(&r); err != nil {
		return fmt.Errorf("read what to do: %w", err)
	}
	opt := Options{Compression: r.Compression, Level: r.Level, Seekable: r.Seekable, KeepFree: r.KeepFree}
	if err := opt.complete(); err != nil {
		return err
	}
	if r.Rows != nil {
		r.Rows.Data = make([]byte, r.Data)
		if _, err := io.ReadFull(io.MultiReader(in.Buffered(), stdin), r.Rows.Data); err != nil {
			return fmt.Errorf("read rows: %w", err)
		}
	}
	stop := make(chan struct{})
	go func() { // ends with stdin, at the latest with the process
		_, _ = io.Copy(io.Discard, stdin)
		close(stop)
	}()
	run := (&compressor{dir: r.Directory, opt: opt, stop: stop, stage: stage}).run
	if r.Step == Seal {
		run = (&digester{dir: r.Directory, stop: stop}).run
	}
	if r.Step == Index {
		idle()
		stage(stageIdle)
		run = (&indexer{dir: r.Directory, keepFree: r.KeepFree, rows: r.Rows, stop: stop}).run
	}
	out, err := run(r.Name)
	answer := reply{
		Path: out.Path, Size: out.Size, Packed: out.Packed, SHA256: out.SHA256, Table: out.Table, Recorded: out.Recorded, Digest: out.Digest, Nothing: errors.Is(err, errNothing),
	}
	if err != nil {
		answer.Error = err.Error()
	}
	return json.NewEncoder(stdout).Encode(answer)
}

// A helper does steps in another process.
type helper struct {
	dir  *store.Directory
	self []string        // see Options
	stop context.Context // done: begin nothing, and give up what runs
	kill context.Context // done: kill the process
}

// do makes another process do a step for a file. leftovers are what a process
// may leave that is killed.
func (p *helper) do(r request, leftovers ...string) (Outcome, error) {
	out := Outcome{Path: filepath.Join(p.dir.Path(), r.Name)}
	var err error
	if r.Directory, err = filepath.Abs(p.dir.Path()); err != nil {
		return out, err
	}
	var data []byte
	if r.Rows != nil {
		data = r.Rows.Data
		r.Data = len(data)
	}
	question, err := json.Marshal(r)
	if err != nil {
		return out, err
	}
	answer, err := p.ask(question, data)
	if err != nil {
		for _, path := range leftovers {
			_ = os.Remove(path) // the process is dead and can't remove it
		}
		if p.stop.Err() != nil {
			return out, errNothing
		}
		return out, err
	}
	out = Outcome{Path: answer.Path, Size: answer.Size, Packed: answer.Packed, SHA256: answer.SHA256, Table: answer.Table, Recorded: answer.Recorded, Digest: answer.Digest}
	switch {
	case answer.Nothing:
		return out, errNothing
	case answer.Error != "":
		return out, errors.New(answer.Error)
	}
	return out, nil
}

// ask runs Self with one processor, since no step is urgent.
func (p *helper) ask(question, data []byte) (reply, error) {
	var answer reply
	var stdout bytes.Buffer
	var stderr tail
	cmd := exec.CommandContext(p.kill, p.self[0], p.self[1:]...)
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
	detach := context.AfterFunc(p.stop, func() { stop.Close() })
	_, wrote := stop.Write(question)
	if wrote == nil {
		_, wrote = stop.Write(data)
	}
	err = cmd.Wait()
	if detach() {
		stop.Close()
	}
	if err != nil || wrote != nil {
		return answer, fmt.Errorf("%s: %w: %s", p.self[0], errors.Join(err, wrote), bytes.TrimSpace(stderr.kept))
	}
	if err := json.Unmarshal(stdout.Bytes(), &answer); err != nil {
		return answer, fmt.Errorf("%s: read answer: %w", p.self[0], err)
	}
	return answer, nil
}
