package recorder

// A phase is what the goroutine of a recorder is doing. A phase is entered only
// by a row of transitions.
type phase uint8

const (
	takingOver phase = iota // predecessors still read frames of the interface
	opening                 // the device is to be opened, or is open and not yet read
	held                    // another recorder still holds the interface
	waiting                 // the interface does not exist, or can't be opened
	recording               // frames are read as they come
	down                    // the device is open, the interface is down
	draining                // reception has ended, and frames that came before are read
	leaving                 // frames that came until now are read; the ring goes on to fill for the next process
	ending                  // the device is closed, the last file is finished
	ended
)

// An event moves a recorder from one phase to another.
type event uint8

const (
	released event = iota // the predecessors have read all their frames
	attached              // the device is read from now on
	busy                  // the device can't be opened: another recorder holds the interface
	refused               // the device can't be opened for another reason
	wentDown              // the interface went down
	cameUp                // the interface is up again
	vanished              // the device failed or its interface is gone, and it is closed
	stopped               // the device takes no more frames
	stays                 // the process ends, and the ring does not
	drained               // all frames of the device are read, and the recorder waits for the next device
	finished              // nothing is left to be recorded
	closed                // the files are finished, or GiveUp was called
)

// transitions has the phase that each event leads to. An event that is not
// listed for a phase can't happen in it.
var transitions = map[phase]map[event]phase{
	takingOver: {released: opening, refused: waiting},
	opening:    {attached: recording, busy: held, refused: waiting, finished: ending},
	held:       {attached: recording, busy: held, refused: waiting, finished: ending},
	waiting:    {attached: recording, busy: waiting, refused: waiting, finished: ending},
	recording:  {wentDown: down, vanished: opening, stopped: draining, stays: leaving, finished: ending},
	down:       {wentDown: down, cameUp: recording, vanished: opening, stopped: draining, stays: leaving, finished: ending},
	draining:   {drained: waiting, finished: ending},
	leaving:    {finished: ending},
	ending:     {closed: ended},
}

// states maps phases to the State that users see. In the other phases a
// recorder shows its previous State.
var states = map[phase]State{held: Waiting, waiting: Waiting, recording: Recording, down: Down, ended: Ended}

func (p phase) String() string {
	return [...]string{"taking over", "opening", "held", "waiting", "recording", "down", "draining", "leaving", "ending", "ended"}[p]
}

func (e event) String() string {
	return [...]string{
		"released", "attached", "busy", "refused", "went down", "came up", "vanished", "stopped", "stays", "drained", "finished", "closed",
	}[e]
}
