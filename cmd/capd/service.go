package main

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"capd/internal/daemon"
	"capd/internal/notify"
)

// statusEvery is how often the service manager hears how it goes.
const statusEvery = 5 * time.Second

// A service tells the service manager how the daemon fares.
type service struct {
	manager *notify.Manager
	daemon  *daemon.Daemon
	log     *slog.Logger
	stop    time.Duration // most time that the end takes
	last    daemon.Status // sum, as of at
	at      time.Time
	doubt   bool // at the last look the daemon seemed stuck
	silent  bool // and at that before
}

// attend tells the manager until the daemon has ended.
func (s *service) attend(stopping, ended <-chan struct{}) {
	if s.manager == nil {
		return
	}
	every := statusEvery
	if w := s.manager.Watchdog(); w > 0 {
		every = min(every, w/4)
	}
	tick := time.NewTicker(min(every, time.Second)) // the first look is soon
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			tick.Reset(every)
			s.look(time.Now())
		case <-stopping:
			s.manager.Stopping()
			s.manager.Extend(s.stop)
			s.manager.Status("Finishing files")
			<-ended
			return
		case <-ended:
			s.manager.Stopping()
			return
		}
	}
}

// look tells how it goes, and that it goes on if it does.
func (s *service) look(now time.Time) {
	all := s.daemon.Status()
	s.manager.Status(s.describe(all, now))
	w := s.manager.Watchdog()
	if w == 0 {
		return
	}
	// What seems stuck at a single look may have been let go by the disk just
	// then, and not have turned yet.
	err := s.daemon.Stuck(w/2, 10*w)
	stuck := err != nil && s.doubt
	s.doubt = err != nil
	if stuck != s.silent {
		s.silent = stuck
		if stuck {
			s.log.Error("stuck: the watchdog will restart capd", "error", err)
		} else {
			s.log.Warn("no longer stuck")
		}
	}
	if !stuck {
		s.manager.Alive()
	}
}

// describe is one line on how it goes, with the rates since the last.
func (s *service) describe(all []daemon.Status, now time.Time) string {
	t := daemon.Sum(all)
	took := now.Sub(s.at).Seconds()
	packets, bytes := float64(t.Received-s.last.Received)/took, float64(t.Bytes-s.last.Bytes)/took
	lost := t.KernelDropped + t.Dropped
	fresh := lost - min(lost, s.last.KernelDropped+s.last.Dropped) // what is under way may be found to be written
	rated := !s.at.IsZero() && took > 0
	s.last, s.at = t, now
	line := states(all)
	if rated {
		line += fmt.Sprintf("; %.0f packets/s, %s", packets, bitRate(bytes*8))
	}
	line += fmt.Sprintf("; lost %d of %d packets", lost, t.Received)
	if rated && fresh > 0 {
		line += fmt.Sprintf(", %d of these in the last %.0f s", fresh, took)
	}
	return line
}

// states says what the interfaces are at, each once.
func states(all []daemon.Status) string {
	by := make(map[daemon.State][]string)
	for _, s := range all {
		if name := quoted(s.Interface); s.State != daemon.Ended && !slices.Contains(by[s.State], name) {
			by[s.State] = append(by[s.State], name)
		}
	}
	var parts []string
	for _, state := range []daemon.State{daemon.Recording, daemon.Suspended, daemon.Down, daemon.Waiting} {
		if names := by[state]; len(names) > 3 {
			parts = append(parts, fmt.Sprintf("%d interfaces %s", len(names), state))
		} else if len(names) > 0 {
			parts = append(parts, strings.Join(names, ", ")+" "+string(state))
		}
	}
	if len(parts) == 0 {
		return "no interface"
	}
	return strings.Join(parts, "; ")
}

// bitRate is a rate to be read.
func bitRate(bits float64) string {
	units := []string{"bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"}
	i := 0
	for bits >= 1000 && i < len(units)-1 {
		bits, i = bits/1000, i+1
	}
	return fmt.Sprintf("%.3g %s", bits, units[i])
}
