package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync/atomic"
	"time"

	"capd/internal/hint"
)

const (
	// MostWords is how many bytes a command may have: Linux takes no argument above 128 KiB.
	MostWords = 120 << 10

	// patience is how long the other side may take to end its answer once it is asked to: what it has sent is still on its way.
	patience = 10 * time.Second
	// silence is how long it may take if nothing has come yet: ssh may still be waiting for a connection or a password.
	silence = 2 * time.Second

	exitNotRunnable = 126 // of a shell: the program is there and can't be run
	exitNotFound    = 127 // of a shell: there is no such program
	exitSSH         = 255 // of ssh: it failed itself
)

// shielded runs ssh with SIGINT ignored, which ssh leaves so. Ctrl-C goes to all that runs on the terminal: without this it would
// cut the connection before the other side could end its answer.
const shielded = `trap '' INT; exec "$@"`

// Run runs capd there with the words as its arguments, and returns its exit code. Its standard input ends when the context does,
// which asks it to end too; after a while ssh is killed. An error says why capd there did not run to its end.
func (h *Host) Run(ctx context.Context, words []string, stdout, stderr io.Writer) (code int, err error) {
	ssh, err := exec.LookPath("ssh")
	if err != nil {
		return 0, hint.New("ssh was not found: "+err.Error(), "--host needs OpenSSH's client: install it, as with apt install openssh-client")
	}
	line := Quote(append([]string{"capd"}, words...)...)
	if len(line) > MostWords {
		return 0, hint.New(fmt.Sprintf("the question has %d bytes, and a command over ssh at most %d", len(line), MostWords), "shorten the expression, or ask on the other machine")
	}
	args := append([]string{"-c", shielded, "sh", ssh, "-T", "-a", "-x", "-oClearAllForwardings=yes", "-oRemoteCommand=none"}, h.login()...)
	cmd := exec.CommandContext(ctx, "sh", append(args, line)...)
	came := &counter{to: stdout}
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = came, stderr, patience
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return 0, err
	}
	cmd.Cancel = func() error {
		time.AfterFunc(silence, func() {
			if came.n.Load() == 0 {
				_ = cmd.Process.Kill()
			}
		})
		return stdin.Close()
	}
	err = cmd.Run()
	if cmd.ProcessState == nil {
		return 0, fmt.Errorf("start ssh: %w", err)
	}
	return h.ended(cmd.ProcessState.ExitCode(), came.err, ctx.Err())
}

// ended says what an exit code means, given how writing and the context ended.
func (h *Host) ended(code int, broken, interrupted error) (int, error) {
	switch {
	case broken != nil:
		return code, broken
	case code == exitSSH:
		return code, hint.New("ssh did not reach "+h.Name+", or the connection broke", "this must work: ssh "+Quote(append(h.login(), "capd", "version")...))
	case code == exitNotFound, code == exitNotRunnable:
		return code, hint.New(h.Name+" has no capd that a command over ssh finds", "install capd there, in a directory of the PATH that this prints: ssh "+Quote(append(h.login(), "echo $PATH")...))
	case code < 0 && interrupted != nil:
		return code, errors.New("interrupted: " + h.Name + " did not end its answer")
	case code < 0:
		return code, errors.New("ssh was killed")
	}
	return code, nil
}

// A counter counts what it passes on, and keeps the error that ended that.
type counter struct {
	to  io.Writer
	n   atomic.Int64
	err error
}

func (c *counter) Write(b []byte) (int, error) {
	c.n.Add(int64(len(b)))
	n, err := c.to.Write(b)
	c.err = err
	return n, err
}
