package recorder

// A phase is what the goroutine of a recorder is doing. Every phase is entered
// by a row of transitions and in no other way.
type phase uint8

const (
	takingOver phase = iota // recorders before this one still read frames of the interface
	opening                 // the device is to be opened, or is open and not yet read
	held                    // another recorder still holds the interface
	waiting                 // the interface is not there, or can't be opened
	recording               // frames are read as they come
	down                    // the device is open, the interface is down
	draining                // reception has ended, and what came before is read
	ending                  // the device is closed, the last file is finished
	ended
)

// An event takes a recorder from one phase to another.
type event uint8

const (
	released event = iota // the recorders before this one have read all that is theirs
	attached              // the device is read from now on
	busy                  // the device can't be had: another recorder holds the interface
	refused               // the device can't be had
	wentDown              // the interface went down
	cameUp                // the interface is up again
	vanished              // the device is of no use any more, and is closed
	stopped               // the device takes no more frames
	drained               // all of its frames are read, and the next device is waited for
	finished              // nothing is left to be recorded
	closed                // the files are finished, or given up
)

// transitions has each phase that an event leads to. What is not there does
// not happen.
var transitions = map[phase]map[event]phase{
	takingOver: {released: opening},
	opening:    {attached: recording, busy: held, refused: waiting, finished: ending},
	held:       {attached: recording, busy: held, refused: waiting, finished: ending},
	waiting:    {attached: recording, busy: waiting, refused: waiting, finished: ending},
	recording:  {wentDown: down, vanished: opening, stopped: draining, finished: ending},
	down:       {wentDown: down, cameUp: recording, vanished: opening, stopped: draining, finished: ending},
	draining:   {drained: waiting, finished: ending},
	ending:     {closed: ended},
}

// states are the phases that others see. In the others a recorder shows the
// state that it had before.
var states = map[phase]State{held: Waiting, waiting: Waiting, recording: Recording, down: Down, ended: Ended}

func (p phase) String() string {
	return [...]string{"taking over", "opening", "held", "waiting", "recording", "down", "draining", "ending", "ended"}[p]
}

func (e event) String() string {
	return [...]string{
		"released", "attached", "busy", "refused", "went down", "came up", "vanished", "stopped", "drained", "finished", "closed",
	}[e]
}
