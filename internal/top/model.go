package top

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"capd/internal/control"
	"capd/internal/text"

	tea "charm.land/bubbletea/v2"
)

const (
	patience = 3 * time.Second // for a status; after that, capd counts as unreachable
	holdLast = 10 * time.Minute
)

// A sorting is a sort order of the rows.
type sorting int

const (
	byName sorting = iota
	byRate
	byLoss
	sortings
)

func (s sorting) String() string { return [...]string{"name", "rate", "loss"}[s] }

// A model is the state of the display.
type model struct {
	ctx    context.Context // cancels requests
	capd   Capd
	glyphs glyphs

	width, height int
	help          bool
	sorting       sorting
	selected      string // an interface's name

	status    *control.Status // the latest status; nil: none yet
	second    int64           // when it arrived, in seconds
	answered  time.Time       // when it arrived; before the first one, when top was started
	now       time.Time       // time of the latest answer or timeout
	err       error           // why the latest request failed; nil: it did not
	histories map[string]*history

	busy bool // a command was sent and not answered yet
	note note
}

// A note is the result of a command.
type note struct {
	at   time.Time
	text string
	bad  bool
}

// An answer is a status, or an error.
type answer struct {
	at     time.Time
	status *control.Status
	err    error
}

// A tick is a message that it is time for the next request.
type tick time.Time

func newModel(ctx context.Context, capd Capd, now time.Time, g glyphs) *model {
	return &model{ctx: ctx, capd: capd, glyphs: g, answered: now, now: now, histories: map[string]*history{}}
}

// Init requests the first status.
func (m *model) Init() tea.Cmd { return m.ask }

func (m *model) ask() tea.Msg {
	ctx, cancel := context.WithTimeout(m.ctx, patience)
	defer cancel()
	s, err := m.capd.Status(ctx, "")
	return answer{time.Now(), s, err}
}

// Update processes a message.
func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case tick:
		return m, m.ask
	case answer:
		m.take(msg)
		// Every aligns ticks with full seconds, so that each second has a sample.
		return m, tea.Every(time.Second, func(t time.Time) tea.Msg { return tick(t) })
	case note:
		m.note, m.busy = msg, false
	case tea.KeyPressMsg:
		return m, m.press(msg.String())
	}
	return m, nil
}

// take processes an answer.
func (m *model) take(a answer) {
	m.now, m.err = a.at, a.err
	if a.err != nil {
		return
	}
	same := m.status != nil && m.status.Start.Equal(a.status.Start)
	m.status, m.answered, m.second = a.status, a.at, a.at.Unix()
	old := m.histories
	m.histories = make(map[string]*history, len(a.status.Interfaces))
	for i := range a.status.Interfaces {
		in := &a.status.Interfaces[i]
		h, known := old[in.Name]
		if !known {
			h = new(history)
		}
		h.add(m.second, in, known && same)
		m.histories[in.Name] = h
	}
}

// press executes the command of a key.
func (m *model) press(key string) tea.Cmd {
	switch key {
	case "q", "ctrl+c":
		return tea.Quit
	case "ctrl+z":
		return tea.Suspend
	case "?":
		m.help = !m.help
		return nil
	case "esc":
		m.help = false
		return nil
	}
	if m.help || m.small() {
		return nil // keys must not change what is not visible
	}
	switch key {
	case "up", "k":
		m.move(-1)
	case "down", "j":
		m.move(+1)
	case "s":
		m.sorting = (m.sorting + 1) % sortings
	case "r":
		if rows, i := m.rows(); len(rows) > 0 {
			return m.rotate(rows[i].Name)
		}
	case "h":
		return m.hold()
	}
	return nil
}

// rows returns the interfaces in their sort order, and the index of the selected one.
func (m *model) rows() (rows []*control.Interface, selected int) {
	if m.status == nil {
		return nil, 0
	}
	for i := range m.status.Interfaces {
		rows = append(rows, &m.status.Interfaces[i])
	}
	slices.SortStableFunc(rows, func(a, b *control.Interface) int {
		order := 0
		switch m.sorting {
		case byRate:
			order = cmp.Compare(b.Rates.Second.Bytes, a.Rates.Second.Bytes)
		case byLoss:
			order = cmp.Or(cmp.Compare(b.Rates.Minute.Lost, a.Rates.Minute.Lost), cmp.Compare(b.Lost(), a.Lost()))
		}
		return cmp.Or(order, cmp.Compare(a.Name, b.Name))
	})
	i := slices.IndexFunc(rows, func(in *control.Interface) bool { return in.Name == m.selected })
	return rows, max(i, 0)
}

func (m *model) move(by int) {
	rows, i := m.rows()
	if len(rows) > 0 {
		m.selected = rows[min(max(i+by, 0), len(rows)-1)].Name
	}
}

func (m *model) rotate(name string) tea.Cmd {
	return m.order("rotate "+text.Line(name), func() (string, error) {
		files, err := m.capd.Rotate(m.ctx, name)
		if len(files) == 0 {
			return "nothing to rotate on " + text.Line(name) + ": no frame came", err
		}
		return "rotated " + text.Line(name) + ": " + names(files), err
	})
}

func (m *model) hold() tea.Cmd {
	return m.order("hold", func() (string, error) {
		files, err := m.capd.Hold(m.ctx, control.Selection{Last: holdLast.String()})
		if len(files) == 0 {
			return "nothing to hold: no file of the last 10 minutes", err
		}
		return fmt.Sprintf("held until capd release: %s: %s", text.Count(len(files), "file"), names(files)), err
	})
}

// order starts a command, unless an earlier one was not answered yet.
func (m *model) order(what string, give func() (string, error)) tea.Cmd {
	if m.busy {
		return nil
	}
	m.busy = true
	m.note = note{at: m.now, text: what + " ..."}
	return func() tea.Msg {
		answer, err := give()
		if err != nil {
			return note{time.Now(), what + ": " + cause(err), true}
		}
		return note{at: time.Now(), text: answer}
	}
}

// names returns the base names of files.
func names(paths []string) string {
	var all []string
	for _, p := range paths {
		all = append(all, text.Line(filepath.Base(p)))
	}
	return strings.Join(all, " ")
}
