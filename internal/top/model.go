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
	patience = 3 * time.Second // for a status; then capd counts as away
	holdLast = 10 * time.Minute
)

// A sorting is an order of the rows.
type sorting int

const (
	byName sorting = iota
	byRate
	byLoss
	sortings
)

func (s sorting) String() string { return [...]string{"name", "rate", "loss"}[s] }

// A model is all that is shown.
type model struct {
	ctx    context.Context // of the orders that have no answer yet
	capd   Capd
	glyphs glyphs

	width, height int
	help          bool
	sorting       sorting
	selected      string // an interface's name

	status    *control.Status // the last one; nil: none came yet
	second    int64           // when it came
	answered  time.Time       // when it came; before the first, when top began
	now       time.Time       // of the last answer, or when one did not come
	err       error           // why none came; nil: it did
	histories map[string]*history

	busy bool // an order has no answer yet
	said note
}

// A note is what came of an order.
type note struct {
	at   time.Time
	text string
	bad  bool
}

// An answer is a status that came, or did not.
type answer struct {
	at     time.Time
	status *control.Status
	err    error
}

// A tick says that it is time to ask.
type tick time.Time

func newModel(ctx context.Context, capd Capd, now time.Time, g glyphs) *model {
	return &model{ctx: ctx, capd: capd, glyphs: g, answered: now, now: now, histories: map[string]*history{}}
}

// Init asks for the first status.
func (m *model) Init() tea.Cmd { return m.ask }

func (m *model) ask() tea.Msg {
	ctx, cancel := context.WithTimeout(m.ctx, patience)
	defer cancel()
	s, err := m.capd.Status(ctx, "")
	return answer{time.Now(), s, err}
}

// Update changes the model by a message.
func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case tick:
		return m, m.ask
	case answer:
		m.take(msg)
		// Every, and not after a second: each second has its sample.
		return m, tea.Every(time.Second, func(t time.Time) tea.Msg { return tick(t) })
	case note:
		m.said, m.busy = msg, false
	case tea.KeyPressMsg:
		return m, m.press(msg.String())
	}
	return m, nil
}

// take takes an answer in.
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

// press does what a key says.
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
		return nil // what is not seen is not changed
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

// rows returns the interfaces in order, and the number of the selected one.
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

// order gives an order, unless an earlier one has no answer yet.
func (m *model) order(what string, give func() (string, error)) tea.Cmd {
	if m.busy {
		return nil
	}
	m.busy = true
	m.said = note{at: m.now, text: what + " ..."}
	return func() tea.Msg {
		answer, err := give()
		if err != nil {
			return note{time.Now(), what + ": " + cause(err), true}
		}
		return note{at: time.Now(), text: answer}
	}
}

// names are those of files, without their directories.
func names(paths []string) string {
	var all []string
	for _, p := range paths {
		all = append(all, text.Line(filepath.Base(p)))
	}
	return strings.Join(all, " ")
}
