package web

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"capd/internal/extract"
	"capd/internal/hint"
	"capd/pcap"
)

// mostUnread is how long a download is kept that nobody has begun, and its verdict after its end.
const mostUnread = 5 * time.Minute

// A download is a question whose answer a browser writes to a file. Its id is known to the page alone, and is good for one answer.
type download struct {
	query *query
	made  time.Time
	begun bool
	done  chan struct{} // closed with its end

	verdict *answered // once it is done
}

// An answered question is what came of it.
type answered struct {
	*extract.Answer
	Verdict string `json:"verdict"`
	Error   string `json:"error,omitempty"` // why the file ends early
}

// downloads are those that are not forgotten yet.
type downloads struct {
	mu  sync.Mutex // guards all, and what is in it
	all map[string]*download
}

// A ticket is how a browser gets a file.
type ticket struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

var errNothingThere = errors.New("there is no such download: it was taken, or is too old")

var errManyDownloads = hint.New("there are too many downloads", "let one end, or wait five minutes")

func (d *downloads) add(q *query, most int) (id string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for key, x := range d.all {
		if time.Since(x.made) > mostUnread && (!x.begun || x.verdict != nil) {
			delete(d.all, key)
		}
	}
	if len(d.all) >= most {
		return "", errManyDownloads
	}
	id = rand.Text()
	d.all[id] = &download{query: q, made: time.Now(), done: make(chan struct{})}
	return id, nil
}

// begin returns a download that nobody has begun.
func (d *downloads) begin(id string) *download {
	d.mu.Lock()
	defer d.mu.Unlock()
	x := d.all[id]
	if x == nil || x.begun {
		return nil
	}
	x.begun = true
	return x
}

func (d *downloads) end(x *download, a *answered) {
	d.mu.Lock()
	x.verdict, x.made = a, time.Now()
	d.mu.Unlock()
	close(x.done)
}

// wait returns the verdict of a download, once it has ended.
func (d *downloads) wait(ctx context.Context, id string) (*answered, error) {
	d.mu.Lock()
	x := d.all[id]
	d.mu.Unlock()
	if x == nil {
		return nil, &statusError{http.StatusNotFound, errNothingThere}
	}
	select {
	case <-x.done:
		return x.verdict, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// newDownload answers POST /v1/downloads.
func (s *Server) newDownload(_ context.Context, q *query) (any, error) {
	id, err := s.downloads.add(q, s.config.Limits.Downloads)
	if err != nil {
		return nil, &statusError{http.StatusTooManyRequests, err}
	}
	return &ticket{id, fileName(q)}, nil
}

// fileName is what the file of a question is to be called.
func fileName(q *query) string {
	if q.since.IsZero() {
		return "capd.pcapng"
	}
	return "capd-" + q.since.UTC().Format("20060102T150405Z") + ".pcapng"
}

// serveDownload answers GET /v1/downloads/{id}/file. The id is what a client has in place of a token, as a browser sends no header
// with a link.
func (s *Server) serveDownload(w http.ResponseWriter, r *http.Request) {
	x := s.downloads.begin(r.PathValue("id"))
	if x == nil {
		refuse(w, &statusError{http.StatusNotFound, errNothingThere})
		return
	}
	a, err := s.give(w, r, x.query)
	if a == nil {
		a = &answered{Answer: &extract.Answer{Interfaces: []*extract.Part{}, Missing: []extract.Missing{}}, Verdict: "INCOMPLETE: no packet was given"}
	}
	if err != nil {
		a.Error = err.Error()
	}
	s.downloads.end(x, a)
	abort(err)
}

// extract answers GET /v1/extract.
func (s *Server) extract(w http.ResponseWriter, r *http.Request, q *query) {
	_, err := s.give(w, r, q)
	abort(err)
}

// verdictTrailer has the verdict in a line.
const verdictTrailer = "Capd-Verdict"

// give streams the packets of a question. What went wrong before the first of them is answered with a status; behind that it ends
// the connection, so that no client takes the file for whole.
func (s *Server) give(w http.ResponseWriter, r *http.Request, q *query) (*answered, error) {
	ctx, end := context.WithTimeoutCause(r.Context(), s.config.Limits.Extraction, errTime)
	defer end()
	x := s.question(q)
	x.MostBytes = s.config.Limits.Bytes
	done, err := s.places.take(ctx, s.config.Limits.Waiting)
	if err != nil {
		refuse(w, err)
		return nil, err
	}
	defer done()
	plan, err := x.Plan(ctx, s.config.Recorders)
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		refuse(w, err)
		return nil, err
	}
	h := w.Header()
	h.Set("Content-Type", "application/x-pcapng")
	h.Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", fileName(q)))
	h.Set("Trailer", verdictTrailer)
	to := &patient{w: w, control: http.NewResponseController(w), most: s.config.Limits.Stall}
	answer, err := plan.Find(ctx, extract.Output{To: to, Format: pcap.PCAPNG})
	if answer == nil {
		refuse(w, err)
		return nil, err
	}
	if s.config.Note != nil {
		s.config.Note(ctx, &x, answer)
	}
	a := &answered{Answer: answer, Verdict: answer.Verdict()}
	if err != nil {
		return a, &brokenError{err}
	}
	h.Set(verdictTrailer, headerLine(a.Verdict))
	return a, nil
}

// A brokenError ends a file before its end.
type brokenError struct{ error }

func (e *brokenError) Unwrap() error { return e.error }

// abort ends the connection if its answer is not whole.
func abort(err error) {
	if errors.As(err, new(*brokenError)) {
		panic(http.ErrAbortHandler)
	}
}

// headerLine is a text that a header may have.
func headerLine(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c < ' ' || c > '~' {
			b[i] = '?'
		}
	}
	return string(b)
}

// A patient writer gives each write its time.
type patient struct {
	w       http.ResponseWriter
	control *http.ResponseController
	most    time.Duration
}

func (p *patient) Write(b []byte) (int, error) {
	if err := p.control.SetWriteDeadline(time.Now().Add(p.most)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	return p.w.Write(b)
}
