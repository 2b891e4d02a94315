package web

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"capd/internal/extract"
	"capd/internal/index"
	"capd/internal/inventory"
	"capd/internal/testrecord"
	"capd/ledger"
	"capd/pcap"
)

// nobody records into the directories of these tests.
type nobody struct{}

func (nobody) Flush(context.Context, string) (extract.Flushed, error) { return extract.Flushed{}, nil }
func (nobody) Ask(_ context.Context, dir string, q ledger.Question) (*ledger.Answer, error) {
	return ledger.Ask(dir, q, ledger.ReadOptions{NoLines: true})
}

// A client asks a server.
type client struct {
	t     *testing.T
	at    *httptest.Server
	token string
}

// offices is the directory of an office's recording, which tests read.
var offices string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "web")
	if err == nil {
		files, more := testrecord.Office()
		err = testrecord.Write(dir, files, more...)
	}
	offices = dir
	code := 1
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	} else {
		code = m.Run()
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

func office(testing.TB) string { return offices }

// open serves directories, and takes the session.
func open(t *testing.T, c Config) (*client, *Server) {
	t.Helper()
	c.Software = "test"
	if c.Recorders == nil {
		c.Recorders = nobody{}
	}
	s, once := New(c)
	at := httptest.NewServer(s.Handler())
	t.Cleanup(at.Close)
	x := &client{t, at, once}
	var got session
	x.ask("POST", "/v1/session", http.StatusOK, &got)
	x.token = got.Token
	return x, s
}

// send sends a request.
func (c *client) send(method, path string, change func(*http.Request)) *http.Response {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), method, c.at.URL+path, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+c.token)
	if change != nil {
		change(r)
	}
	resp, err := c.at.Client().Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// ask sends a request and decodes its answer, which has the status.
func (c *client) ask(method, path string, status int, into any) {
	c.t.Helper()
	resp := c.send(method, path, nil)
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	if resp.StatusCode != status {
		c.t.Fatalf("%s %s: %s\n%s", method, path, resp.Status, b)
	}
	if err := json.Unmarshal(b, into); err != nil {
		c.t.Fatalf("%s %s: %v in %s", method, path, err, b)
	}
}

// at is a time of the recordings, as a parameter.
func at(after time.Duration) string { return testrecord.Noon.Add(after).Format(time.RFC3339Nano) }

func TestWhoMayAsk(t *testing.T) {
	c, s := open(t, Config{Directories: []string{office(t)}})
	status := func(path string, change func(*http.Request)) int {
		t.Helper()
		return c.send("GET", path, change).StatusCode
	}
	if got := status("/v1/info", nil); got != http.StatusOK {
		t.Errorf("the session's token: %d", got)
	}
	for name, change := range map[string]func(*http.Request){
		"no token":        func(r *http.Request) { r.Header.Del("Authorization") },
		"another token":   func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") },
		"another scheme":  func(r *http.Request) { r.Header.Set("Authorization", "Basic "+c.token) },
		"a used token":    func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+c.token[:10]) },
		"a cookie, alone": func(r *http.Request) { r.Header.Del("Authorization"); r.Header.Set("Cookie", "token="+c.token) },
	} {
		for _, path := range []string{"/v1/info", "/v1/timeline", "/v1/flows", "/v1/packets", "/v1/filter", "/v1/files", "/v1/ledger", "/v1/extract", "/v1/downloads/x"} {
			if got := status(path, change); got != http.StatusUnauthorized {
				t.Errorf("%s, %s: %d", path, name, got)
			}
		}
	}
	for _, host := range []string{"evil.example", "127.0.0.1.evil.example:80", "10.0.0.1", "localhost.evil.example", ""} {
		if got := status("/v1/info", func(r *http.Request) { r.Host = host }); host != "" && got != http.StatusForbidden {
			t.Errorf("host %q: %d", host, got)
		}
	}
	for _, host := range []string{"localhost:8080", "[::1]:99", "127.0.0.1", "127.3.2.1:1"} {
		if got := status("/v1/info", func(r *http.Request) { r.Host = host }); got != http.StatusOK {
			t.Errorf("host %q: %d", host, got)
		}
	}
	if got := status("/v1/info", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }); got != http.StatusForbidden {
		t.Errorf("another page: %d", got)
	}
	if got := status("/", func(r *http.Request) { r.Header.Del("Authorization") }); got != http.StatusOK {
		t.Errorf("the page itself: %d", got)
	}
	if got := status("/v1/nothing", nil); got != http.StatusNotFound {
		t.Errorf("no such question: %d", got)
	}
	if _, err := s.exchange("anything"); err == nil {
		t.Error("a second session was given")
	}
}

// TestOnceOnly: the token of the address is good for one exchange, and for nothing else.
func TestOnceOnly(t *testing.T) {
	s, once := New(Config{Recorders: nobody{}})
	if s.allowed(once) || s.allowed("") {
		t.Error("allowed without a session")
	}
	if _, err := s.exchange("wrong"); err == nil {
		t.Error("a wrong token was taken")
	}
	session, err := s.exchange(once)
	if err != nil || !s.allowed(session) || s.allowed(once) {
		t.Errorf("session %q, %v", session, err)
	}
	if _, err := s.exchange(once); err == nil {
		t.Error("the token was taken twice")
	}
}

func TestListen(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", ":0", "[::]:0", "192.0.2.1:80"} {
		if l, err := Listen(address); err == nil || !strings.Contains(err.Error(), "other machines") {
			if err == nil {
				l.Close()
			}
			t.Errorf("%s: %v", address, err)
		}
	}
	l, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	served := make(chan error)
	s, _ := New(Config{Recorders: nobody{}})
	go func() { served <- s.Serve(ctx, l) }()
	resp, err := http.Get("http://" + l.Addr().String() + "/")
	if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(resp.Header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("%v, %v", resp, err)
	}
	resp.Body.Close()
	end()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestTimeline(t *testing.T) {
	dir := office(t)
	c, _ := open(t, Config{Directories: []string{dir}})
	var all timeline
	c.ask("GET", "/v1/timeline?bins=15", http.StatusOK, &all)
	listing, err := inventory.Read(dir, inventory.Query{})
	if err != nil {
		t.Fatal(err)
	}
	want := 0.0
	for _, f := range listing.Files {
		want += float64(f.Packets) // the damaged one can be read all the same
	}
	if got := sum(all.Packets); !all.Exact || got != want {
		t.Errorf("%v packets, want %v; exact %v (%s)", got, want, all.Exact, all.Why)
	}
	if all.Verdict.Word != "INCOMPLETE" || all.Files != 13 {
		t.Errorf("%d files, %+v", all.Files, all.Verdict)
	}
	for kind, minute := range map[string]int{laneLost: 3, laneGap: 9, laneDamaged: 12, laneRetired: 0, laneHeld: 5} {
		l := all.lane(kind)
		if len(l.Marks) != 1 {
			t.Errorf("%s: %+v", kind, l.Marks)
			continue
		}
		m := &l.Marks[0]
		if at := testrecord.Noon.Add(time.Duration(minute) * time.Minute); m.Since.Sub(at).Abs() > 10*time.Second || m.Count != 1 {
			t.Errorf("%s: %+v, want minute %d", kind, m, minute)
		}
	}
	if l := all.lane(laneLost); len(l.Marks) == 1 && l.Marks[0].Frames != 42 {
		t.Errorf("lost: %+v", l.Marks)
	}
}

func (t *timeline) lane(kind string) *lane {
	for i := range t.Lanes {
		if t.Lanes[i].Kind == kind {
			return &t.Lanes[i]
		}
	}
	return new(lane)
}

func sum(all []float64) (n float64) {
	for _, x := range all {
		n += x
	}
	return n
}

// TestTimelineZooms: packets lie in their bins to the microsecond, and those that a filter takes are counted alone.
func TestTimelineZooms(t *testing.T) {
	c, _ := open(t, Config{Directories: []string{office(t)}})
	files, _ := testrecord.Office()
	var first, second time.Time
	for _, f := range files[1].Frames[:2] {
		first, second = second, f.At
	}
	var z timeline
	c.ask("GET", fmt.Sprintf("/v1/timeline?bins=10&since=%s&until=%s", first.Format(time.RFC3339Nano), first.Add(10*time.Microsecond).Format(time.RFC3339Nano)), http.StatusOK, &z)
	if z.Packets[0] != 1 || sum(z.Packets) != 1 || !z.Exact {
		t.Errorf("%+v", z)
	}
	var dns timeline
	c.ask("GET", "/v1/timeline?bins=14&filter="+url.QueryEscape("udp port 53"), http.StatusOK, &dns)
	if want := 13.0 * 6; sum(dns.Packets) != want || !dns.Chosen || !dns.Exact { // 15 minutes but for a gap and a deleted file
		t.Errorf("%v packets of DNS, want %v", sum(dns.Packets), want)
	}
}

// TestTimelineEstimates: what is too much to read is estimated from the ledger, with the same sums.
func TestTimelineEstimates(t *testing.T) {
	dir := office(t)
	exact, _ := open(t, Config{Directories: []string{dir}})
	rough, _ := open(t, Config{Directories: []string{dir}, Limits: Limits{Exact: 1}})
	var a, b timeline
	exact.ask("GET", "/v1/timeline?bins=900", http.StatusOK, &a)
	rough.ask("GET", "/v1/timeline?bins=900", http.StatusOK, &b)
	if got, want := sum(b.Packets), sum(a.Packets); b.Exact || b.Why == "" || got < want-0.01 || got > want+0.01 {
		t.Errorf("%v packets, want %v; exact %v, %q", got, want, b.Exact, b.Why)
	}
}

// TestMarksAreNeverLeftOut: however many bins there are, each loss has one.
func TestMarksAreNeverLeftOut(t *testing.T) {
	for _, bins := range []int{1, 7, 100, 4000} {
		tl := &timeline{Since: testrecord.Noon, Until: testrecord.Noon.Add(90 * 24 * time.Hour), Bins: bins}
		m := &marker{t: tl}
		n := 0
		for i := range 1000 {
			at := testrecord.Noon.Add(time.Duration(i) * 129 * time.Minute)
			if m.add(span{at, at.Add(time.Microsecond)}, 1, "x") {
				n++
			}
		}
		frames, count := uint64(0), 0
		for _, x := range m.marks() {
			frames, count = frames+x.Frames, count+x.Count
			if x.Begin < 0 || x.End > bins || x.Begin >= x.End {
				t.Fatalf("%+v of %d bins", x, bins)
			}
		}
		if n != 1000 || frames != 1000 || count != 1000 {
			t.Errorf("%d bins: %d added, %d frames, %d", bins, n, frames, count)
		}
	}
}

func TestFlows(t *testing.T) {
	c, _ := open(t, Config{Directories: []string{office(t)}})
	var f flows
	c.ask("GET", "/v1/flows?limit=5", http.StatusOK, &f)
	if len(f.Flows) != 5 || !f.More || f.Total.Flows == 0 || f.Flows[0].Protocol != "tcp" || f.Flows[0].Name == "" {
		t.Errorf("%+v", f)
	}
	if _, err := extract.ParseFlow(f.Flows[0].Name); err != nil {
		t.Error(err)
	}
	var next flows
	c.ask("GET", "/v1/flows?limit=5&offset=4", http.StatusOK, &next)
	if next.Flows[0].CommunityID != f.Flows[4].CommunityID {
		t.Errorf("page 2 begins with %+v, want %+v", next.Flows[0], f.Flows[4])
	}
	for group, want := range map[string]string{"hosts": "203.0.113.10", "ports": "tcp 443", "protocols": "tcp"} {
		var g flows
		c.ask("GET", "/v1/flows?group="+group, http.StatusOK, &g)
		if len(g.Groups) == 0 || g.Groups[0].Name != want {
			t.Errorf("%s: %+v, want %s", group, g.Groups, want)
			continue
		}
		if _, err := parseFilter("filter", g.Groups[0].Filter); err != nil {
			t.Error(err)
		}
	}
}

// TestFlowsAreBounded: files without tables are read up to a limit, and only those of the time.
func TestFlowsAreBounded(t *testing.T) {
	dir := t.TempDir()
	files, more := testrecord.Office()
	for i := range files {
		files[i].Untabled = true
	}
	if err := testrecord.Write(dir, files, more...); err != nil {
		t.Fatal(err)
	}
	c, _ := open(t, Config{Directories: []string{dir}, Limits: Limits{Read: 200 << 10}})
	var f failure
	c.ask("GET", "/v1/flows", http.StatusRequestEntityTooLarge, &f)
	if len(f.Hints) == 0 {
		t.Errorf("%+v", f)
	}
	var some flows
	c.ask("GET", "/v1/flows?since="+at(time.Minute)+"&until="+at(2*time.Minute), http.StatusOK, &some)
	if some.Scanned == 0 || some.Scanned > 2 || len(some.Flows) == 0 {
		t.Errorf("%d files were read, %d flows", some.Scanned, len(some.Flows))
	}
}

func TestPackets(t *testing.T) {
	c, _ := open(t, Config{Directories: []string{office(t)}})
	var p packets
	c.ask("GET", "/v1/packets?limit=3&filter=udp", http.StatusOK, &p)
	if len(p.Packets) != 3 || !p.More || p.Packets[0].Protocol != "dns" || p.Packets[0].Layers != nil || !strings.Contains(p.Packets[0].Info, "host0.example.net") {
		t.Fatalf("%+v", p)
	}
	var one packets
	c.ask("GET", "/v1/packets?limit=1&offset=2&detail=1&filter=udp", http.StatusOK, &one)
	if len(one.Packets) != 1 || !one.Packets[0].Time.Equal(p.Packets[2].Time) || len(one.Packets[0].Layers) < 4 || len(one.Packets[0].Bytes) != one.Packets[0].Captured {
		t.Errorf("%+v", one)
	}
}

func TestFilter(t *testing.T) {
	c, _ := open(t, Config{Directories: []string{office(t)}, Spell: func(q *extract.Question) string { return "capd extract " + q.Expression }})
	var ok command
	c.ask("GET", "/v1/filter?filter=tcp+port+443", http.StatusOK, &ok)
	if ok.Command != "capd extract tcp port 443" || ok.Condition == "" {
		t.Errorf("%+v", ok)
	}
	for _, path := range []string{"/v1/filter", "/v1/timeline", "/v1/flows", "/v1/packets", "/v1/extract"} {
		var bad failure
		c.ask("GET", path+"?filter="+url.QueryEscape("tcp prot 443"), http.StatusBadRequest, &bad)
		if bad.Parameter != "filter" || bad.Offset == nil || *bad.Offset != 4 {
			t.Errorf("%s: %+v", path, bad)
		}
	}
}

func TestFilesAndLedger(t *testing.T) {
	c, _ := open(t, Config{Directories: []string{office(t)}})
	var f files
	c.ask("GET", "/v1/files?since="+at(4*time.Minute)+"&until="+at(6*time.Minute), http.StatusOK, &f)
	if len(f.Files) != 2 || !f.Files[1].Held {
		t.Errorf("%+v", f.Files)
	}
	var l lines
	c.ask("GET", "/v1/ledger?limit=3&until="+at(5*time.Minute), http.StatusOK, &l)
	if len(l.Lines) != 3 || !l.More {
		t.Errorf("%+v", l)
	}
}

// answerOf is what capd extract writes.
func answerOf(t *testing.T, dir, expression string) []byte {
	q := extract.Question{Directories: []string{dir}, Expression: expression, Software: "test"}
	plan, err := q.Plan(t.Context(), nobody{})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := plan.Find(t.Context(), extract.Output{To: &b, Format: pcap.PCAPNG}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestDownload: a download is what capd extract gives, and its verdict is in a trailer, in the file and in the answer.
func TestDownload(t *testing.T) {
	dir := office(t)
	var noted uint64
	c, _ := open(t, Config{Directories: []string{dir}, Note: func(_ context.Context, _ *extract.Question, a *extract.Answer) { noted = a.Packets }})
	want := answerOf(t, dir, "udp port 53")
	resp := c.send("GET", "/v1/extract?filter=udp+port+53", nil)
	got, err := io.ReadAll(resp.Body)
	if err != nil || !sameButTime(got, want) {
		t.Errorf("%d bytes, want %d; %v", len(got), len(want), err)
	}
	if v := resp.Trailer.Get(verdictTrailer); !strings.HasPrefix(v, "INCOMPLETE: 78 packets") || !bytes.Contains(got, []byte("verdict: INCOMPLETE")) || noted != 78 {
		t.Errorf("verdict %q, %d packets noted", v, noted)
	}
	var tk ticket
	c.ask("POST", "/v1/downloads?filter=udp+port+53", http.StatusOK, &tk)
	resp = c.send("GET", "/v1/downloads/"+tk.ID+"/file", func(r *http.Request) { r.Header.Del("Authorization") })
	got, err = io.ReadAll(resp.Body)
	if err != nil || !sameButTime(got, want) || !strings.Contains(resp.Header.Get("Content-Disposition"), tk.Name) {
		t.Errorf("%d bytes, want %d; %v", len(got), len(want), err)
	}
	var a struct {
		Packets uint64
		Verdict string
	}
	c.ask("GET", "/v1/downloads/"+tk.ID, http.StatusOK, &a)
	if a.Packets != 78 || !strings.HasPrefix(a.Verdict, "INCOMPLETE") {
		t.Errorf("%+v", a)
	}
	var f failure
	c.ask("GET", "/v1/downloads/"+tk.ID+"/file", http.StatusNotFound, &f)
}

// sameButTime compares answers but for their last block, which has the time of the answer.
func sameButTime(a, b []byte) bool {
	return len(a) == len(b) && slices.Equal(a[:lastBlock(a)], b[:lastBlock(b)])
}

func lastBlock(b []byte) int {
	if len(b) < 12 {
		return 0
	}
	tail := b[len(b)-4:]
	return len(b) - int(uint32(tail[0])|uint32(tail[1])<<8|uint32(tail[2])<<16|uint32(tail[3])<<24)
}

// TestForeign: captures of other tools are shown and searched once they have flow tables.
func TestForeign(t *testing.T) {
	dir, made := t.TempDir(), office(t)
	images, err := filepath.Glob(filepath.Join(made, "*.pcapng"))
	if err != nil || len(images) == 0 {
		t.Fatal(err)
	}
	for i, from := range images[:3] {
		b, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, fmt.Sprintf("dump%d.pcapng", i))
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if i == 2 { // it was never indexed
			continue
		}
		built, err := index.Build(t.Context(), path, false, nil)
		if err == nil {
			err = index.Catalogue(dir, []index.Built{built})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	c, _ := open(t, Config{Directories: []string{dir}})
	var tl timeline
	c.ask("GET", "/v1/timeline", http.StatusOK, &tl)
	files, _ := testrecord.Office()
	if want := float64(len(files[1].Frames) + len(files[2].Frames)); sum(tl.Packets) != want || tl.Verdict.Word != "unknown" {
		t.Errorf("%v packets, want %v; %+v", sum(tl.Packets), want, tl.Verdict)
	}
	resp := c.send("GET", "/v1/extract?filter=udp", nil)
	if _, err := io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	if v := resp.Trailer.Get(verdictTrailer); !strings.HasPrefix(v, "INCOMPLETE: 12 packets") {
		t.Error(v)
	}
}
