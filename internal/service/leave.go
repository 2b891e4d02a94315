package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"capd/config"
	"capd/internal/control"
	"capd/internal/daemon"
	"capd/internal/restart"
	"capd/internal/sandbox"
	"capd/store"
)

// TryFlag makes capd run check its arguments and its configuration, and do nothing else.
const TryFlag = "--try"

// Times that a process waits for another one.
const (
	tryTimeout    = 10 * time.Second // for the new program, before anything is changed
	recordTimeout = 2 * time.Minute  // for the new process, until it records
	lockTimeout   = 15 * time.Second // for the end of a new process that did not come to record
)

// records is what a process that takes over sends when it records.
const records = 'r'

// A departure is an order after which the recorders have left their rings.
type departure struct {
	order   string
	conn    *net.UnixConn       // the client's
	wait    time.Duration       // see recordTimeout
	control *control.OpenSocket // the socket that the program in the place of this one listens on; nil: it makes its own
}

// A leaver makes the recorders of a run leave, by an order of the control socket.
type leaver struct {
	options *Options
	holder  *restart.Holder // nil: the service manager keeps the rings, or nobody
	outlast *outlast        // nil: the service manager keeps nothing
	managed bool            // there is a service manager
	reload  *reloader
	sockets *sockets
	end     context.CancelFunc // of the run

	ready chan struct{} // closed once the run has begun
	leave atomic.Bool   // see daemon.Restart
	busy  atomic.Bool   // an order is being followed
	gone  atomic.Pointer[departure]
}

// prepare checks the order, and returns what follows it.
func (l *leaver) prepare(ctx context.Context, order string) (func(*net.UnixConn), error) {
	switch {
	case l.outlast != nil:
		return nil, control.Refused("%s: a service manager runs capd and keeps its rings: restart the service, as with systemctl restart capd, and no frame is lost", order)
	case l.holder == nil:
		return nil, control.Refused("%s: %s can't hand a recording to another process: stop capd and start it again", order, runtime.GOOS)
	case !l.busy.CompareAndSwap(false, true):
		return nil, control.Refused("%s: capd is leaving already", order)
	}
	select {
	case <-l.ready:
	case <-ctx.Done():
		l.busy.Store(false)
		return nil, control.Refused("%s: capd is still starting: try again", order)
	}
	if order == control.Upgrade {
		if err := l.tryUpgrade(ctx); err != nil {
			l.busy.Store(false)
			return nil, control.Refused("%s: nothing has changed: %v", order, err)
		}
	}
	return func(conn *net.UnixConn) {
		if conn == nil {
			l.busy.Store(false)
			return
		}
		d := &departure{order: order, conn: conn, wait: recordTimeout}
		if order == control.Upgrade {
			var err error
			if d.control, err = l.sockets.control.Keep(); err != nil { // it is there: the order came over it
				l.sockets.missing("the control socket is not kept", err)
			}
		}
		l.gone.Store(d)
		l.leave.Store(true)
		l.end()
	}, nil
}

// tryUpgrade returns why the program as it is now would not record.
func (l *leaver) tryUpgrade(ctx context.Context) error {
	o := l.options
	at := slices.Index(o.Command, "run")
	if at < 1 {
		return errors.New("the program that runs can't be found")
	}
	if o.Daemon.Duration > 0 {
		return errors.New("capd was started with --duration, which would begin anew")
	}
	cfg, err := o.Load()
	if err == nil {
		err = permits(l.reload.held, cfg)
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	args := slices.Insert(slices.Clone(o.Command[1:]), at, TryFlag)
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, o.Command[0], args...)
	cmd.Stderr = &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s can't record with the arguments that capd was started with: %w: %s",
			o.Command[0], err, strings.ReplaceAll(strings.TrimSpace(said.String()), "\n", "; "))
	}
	return nil
}

// A heritage is what a run has from the process before, or from the run before in the same process.
type heritage struct {
	files    []restart.File
	confined bool                // the process has given up what it may
	held     *sandbox.Policy     // files that it is held to then; nil: all
	control  *control.OpenSocket // nil: none
	announce *net.UnixConn       // to the process that handed over and waits until this one records; nil: none
}

// passed is what goes with the files to the program that takes the place of this one.
type passed struct {
	Confined bool            `json:"confined"`
	Held     *sandbox.Policy `json:"held,omitempty"`
	Control  string          `json:"control,omitempty"` // path of the socket that is among the files
}

// Names of the files of the control socket.
const (
	controlSocket = "control-socket"
	controlLock   = "control-lock"
)

// take removes the file of that name from the heritage, and returns it; nil if there is none.
func (h *heritage) take(name string) (f *os.File) {
	h.files = slices.DeleteFunc(h.files, func(one restart.File) bool {
		if one.Name == name {
			f = one.File
		}
		return one.Name == name
	})
	return f
}

// inherit returns what the program before in this process has passed, or what the running capd hands over.
func inherit(ctx context.Context, o *Options, cfg *config.Config, log *slog.Logger) (heritage, error) {
	var p passed
	files, ok, err := restart.Passed(&p)
	if err != nil {
		log.Error("frames are lost", "error", err)
	}
	if ok {
		if p.Confined {
			err = sandbox.Resume()
		}
		h := heritage{files: files, confined: p.Confined, held: p.Held}
		if k := (&control.OpenSocket{Path: p.Control, Socket: h.take(controlSocket), Lock: h.take(controlLock)}); k.Socket != nil && k.Lock != nil {
			h.control = k
		}
		return h, err
	}
	if o.TakeOver == nil {
		return heritage{}, nil
	}
	client, err := o.TakeOver(cfg)
	if err != nil {
		return heritage{}, fmt.Errorf("take over: %w", err)
	}
	conn, err := client.Leave(ctx, control.TakeOver)
	if err != nil {
		return heritage{}, fmt.Errorf("take over: %w", err)
	}
	if files, err = restart.Receive(conn); err != nil {
		_ = conn.Close()
		return heritage{}, fmt.Errorf("take over: the running capd has not left: %w", err)
	}
	log.Info("taking over from the running capd", "socket", client.Path())
	return heritage{files: files, announce: conn}, nil
}

// said tells the process that handed over that this one records. It returns an error if that one goes on itself.
func (h *heritage) said() error {
	if h.announce == nil {
		return nil
	}
	conn := h.announce
	defer conn.Close()
	h.announce = nil
	_ = conn.SetDeadline(time.Now().Add(tryTimeout))
	if _, err := conn.Write([]byte{records}); err != nil {
		return fmt.Errorf("take over: the capd before did not wait, and goes on itself: %w", err)
	}
	return nil
}

// pass gives the files to what comes next: another program in this process, and then it does not return, or the client's
// process. It returns an error, and all is as before, if this process has to go on itself.
func (d *departure) pass(o *Options, files []restart.File, more passed) error {
	defer d.conn.Close()
	if d.order == control.Upgrade {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if k := d.control; k != nil {
			more.Control = k.Path
			files = append(slices.Clone(files), restart.File{Name: controlSocket, File: k.Socket}, restart.File{Name: controlLock, File: k.Lock})
		}
		err := sandbox.PassCapabilities()
		if err == nil {
			err = restart.Exec(o.Command[0], o.Command, files, more)
		}
		_, _ = io.WriteString(d.conn, err.Error())
		return err
	}
	_ = d.conn.SetDeadline(time.Now().Add(d.wait))
	if err := restart.Send(d.conn, files); err != nil {
		return err
	}
	answer := make([]byte, 1)
	_, err := io.ReadFull(d.conn, answer)
	if err != nil {
		// From here on the new process can't say any more that it records. It may have done so just now.
		_ = d.conn.CloseRead()
		_ = d.conn.SetDeadline(time.Now().Add(tryTimeout))
		_, again := io.ReadFull(d.conn, answer)
		if again == nil {
			err = nil
		}
	}
	if err == nil && answer[0] != records {
		err = fmt.Errorf("the new process says %q", answer)
	}
	if err != nil {
		return fmt.Errorf("the new process does not record: %w", err)
	}
	return nil
}

// awaitDirectories waits until no other process holds the directories.
func awaitDirectories(cfg *config.Config) {
	began := time.Now()
	for i := range cfg.Interfaces {
		for time.Since(began) < lockTimeout {
			lock, err := store.LockDirectory(cfg.Interfaces[i].Directory)
			if err == nil {
				_ = lock.Release()
			}
			if !errors.Is(err, store.ErrInUse) {
				break
			}
		}
	}
}

// survivors takes over what the recorders before have left, and says where those of this run leave the same: with the
// service manager, or else in this process.
func (p *process) survivors(files []restart.File) (r daemon.Restart, holder *restart.Holder, kept *outlast) {
	switch most, known := p.manager.StoreMax(); {
	case p.manager != nil && (!known || most > 0):
		for _, f := range files {
			if err := p.manager.Store(f.Name, f.File); err != nil {
				p.log.Warn("a restart of capd will cost frames", "error", err)
			}
		}
		for name, all := range p.inherited {
			for _, one := range all {
				files = append(files, restart.File{Name: name, File: one})
			}
		}
		kept = newOutlast(p.manager, files, p.log)
		r.Keeper = kept
	default:
		var err error
		if holder, err = restart.NewHolder(files); err != nil {
			p.log.Error("frames are lost", "error", err)
			restart.CloseAll(files)
			return r, nil, nil
		}
		if p.manager != nil {
			p.log.Warn("a restart of capd will cost frames: the service manager keeps no descriptors", "hint", "FileDescriptorStoreMax= in the unit")
		}
		r.Keeper = holder
	}
	r.States, r.Seen, r.Refused = restart.Inherit(r.Keeper, files, p.log)
	return r, holder, kept
}
