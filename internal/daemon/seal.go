package daemon

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"capd/config"
	"capd/internal/finish"
	"capd/internal/retain"
	"capd/internal/sysclock"
	"capd/ledger"
	"capd/seal"
	"capd/store"
	"capd/writer"
)

// sealEvery is the time between two checkpoints while lines come, but for those at the ends of files.
const sealEvery = time.Second

// seals seal the lines of a directory's ledger, and know which finished files have
// to be digested.
type seals struct {
	path string
	log  *slog.Logger

	mu         sync.Mutex // guards what follows; never held during disk operations
	on         bool
	evolve     time.Duration
	since      time.Time // when the present key began
	undigested map[string]bool
	ledger     *ledgerWriter
	err        error // of the last attempt to seal
	seals      uint64
	digests    uint64
	end        context.CancelFunc
	ended      chan struct{}
}

// sealKey opens the key of the directory of recordings; nil if nothing is to be
// sealed.
func sealKey(c *config.Config, path string) (*seal.Key, error) {
	if !c.Seal.Enabled {
		return nil, nil
	}
	k, err := seal.Open(c.Seal.Keys, path)
	if err != nil {
		return nil, err
	}
	k.Clock = sysclock.State
	return k, nil
}

// checkKeys returns an error if a directory of the configuration lacks its key.
func checkKeys(all *directories, c *config.Config) error {
	for i := range c.Interfaces {
		path := c.Interfaces[i].Directory
		if d := all.at(path); d != nil {
			path = d.path
		}
		if _, err := sealKey(c, path); err != nil {
			return err
		}
	}
	return nil
}

// begin seals from time to time until stop, with the key; nil: not at all. The
// key goes on where a run before has left it.
func (s *seals) begin(w *ledgerWriter, c *config.Config, key *seal.Key, h *ledger.History) {
	s.mu.Lock()
	s.ledger, s.on, s.evolve = w, key != nil, time.Duration(c.Seal.Evolve)
	if key != nil {
		_, s.since = key.Epoch()
	}
	if s.on && h != nil {
		for name := range h.Undigested {
			s.undigested[name] = true
		}
	}
	s.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	s.end, s.ended = cancel, make(chan struct{})
	go s.run(ctx)
}

func (s *seals) run(ctx context.Context) {
	defer close(s.ended)
	if why := s.ledger.file.Broken(); why != "" {
		s.log.Error("what was sealed is not there: a new log begins, and capd verify calls the directory tampered with", "directory", s.path, "why", why)
	}
	tick := time.NewTicker(sealEvery)
	defer tick.Stop()
	for {
		s.turn()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// turn evolves the key if it is time, or seals.
func (s *seals) turn() {
	s.mu.Lock()
	due := s.on && time.Since(s.since) >= s.evolve
	s.mu.Unlock()
	if !due {
		s.sealAnd(s.ledger.file.Remember)
		return
	}
	err := s.ledger.file.Evolve()
	s.note(err == nil, errors.Join(err, s.ledger.file.Remember()))
	if err == nil {
		s.mu.Lock()
		s.since = time.Now()
		s.mu.Unlock()
	}
}

// seal makes a checkpoint if there is something to seal.
func (s *seals) seal() { s.sealAnd(func() error { return nil }) }

// sealAnd is seal with a step behind it.
func (s *seals) sealAnd(then func() error) {
	if s.sealing() {
		done, err := s.ledger.file.Checkpoint()
		s.note(done, errors.Join(err, then()))
	}
}

// note notes the result of a checkpoint.
func (s *seals) note(done bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if done {
		s.seals++
	}
	if err != nil && s.err == nil {
		s.log.Error("the ledger can't be sealed: it is tried again", "directory", s.path, "error", err)
	}
	s.err = err
}

// change puts another configuration into effect.
func (s *seals) change(c *config.Config) error {
	s.mu.Lock()
	was := s.on
	s.evolve = time.Duration(c.Seal.Evolve)
	s.mu.Unlock()
	if was == c.Seal.Enabled {
		return nil
	}
	key, err := sealKey(c, s.path)
	if err == nil {
		err = s.ledger.file.Seal(key)
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.on = key != nil
	if s.on {
		_, s.since = key.Epoch()
	} else {
		clear(s.undigested)
	}
	s.log.Info("sealing", "directory", s.path, "on", s.on)
	return nil
}

// queued looks at a line that will be written. The steps on a file begin after
// its line is queued, and before it is written.
func (s *seals) queued(e *ledger.Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch e.Kind {
	case ledger.KindFile:
		if s.on {
			s.undigested[e.Name] = true
		}
	case ledger.KindDigest:
		s.digests++
		delete(s.undigested, e.Name)
	case ledger.KindDeleted:
		delete(s.undigested, e.Name)
	}
}

// fileEnds reports whether lines say that a file has ended, or what its bytes
// are: they are sealed at once.
func fileEnds(entries []ledger.Entry) bool {
	return slices.ContainsFunc(entries, func(e ledger.Entry) bool { return e.Kind == ledger.KindFile || e.Kind == ledger.KindDigest })
}

// wants reports whether the finished file has to be digested.
func (s *seals) wants(name store.Name) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.undigested) > 0 && s.undigested[name.String()]
}

// deleting notes that a file is about to be deleted, before it is: after a crash
// nobody could tell whether a limit has deleted it.
func (s *seals) deleting(d retain.Deletion) {
	s.mu.Lock()
	on := s.on
	s.mu.Unlock()
	if on {
		_ = s.ledger.file.Append(ledger.Deleting(d.Name, string(d.Limit))) // what fails waits in memory
	}
}

// stop ends the sealing, but for what the ledger seals when it is closed. What
// has not been digested until the context ends is digested by the next run.
func (s *seals) stop(ctx context.Context, dir *store.Directory) {
	s.end()
	<-s.ended
	for f := range dir.All() {
		if ctx.Err() != nil {
			return
		}
		if f.HasData() && s.wants(f.Name) {
			if d, err := finish.Digest(dir.Path(), f.Name, ctx.Done()); err == nil {
				s.ledger.note(ledger.Digest(f.Name, d))
			}
		}
	}
}

// sealing reports whether lines are sealed.
func (s *seals) sealing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.on
}

// digested notes the digest of a file that was made while the file was written.
func (d *directory) digested(f writer.File) {
	if f.Digest != nil && f.Err == nil && d.seals.sealing() {
		d.ledger.note(ledger.Digest(f.Name, *f.Digest))
	}
}

// digests returns until when files may be digested at the end: not at all
// where a ring waits for the next process, which digests them then.
func (e *end) digests(ctx context.Context) context.Context {
	if !e.leaves() {
		return ctx
	}
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	return ctx
}
