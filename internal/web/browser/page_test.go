package browser

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"capd/internal/testrecord"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	browserlog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

var update = flag.Bool("update", false, "make the pictures of docs/web.md")

// patience is for anything that the browser does.
const patience = 20 * time.Second

// A page is one of capd web in a browser, and what went wrong in it.
type page struct {
	t     *testing.T
	ctx   context.Context
	dir   string // of the captures
	files string // that were downloaded
	capd  string
	host  string

	mu    sync.Mutex // guards wrong
	wrong []string
}

// open starts capd web and opens its page.
func open(t *testing.T) *page {
	binary := os.Getenv("CAPD_BROWSER")
	if binary == "" {
		t.Skip("the step browser of scripts/test runs it, with CAPD_BROWSER and CAPD_AXE")
	}
	p := &page{t: t, dir: filepath.Join(t.TempDir(), "office"), files: t.TempDir(), capd: filepath.Join(t.TempDir(), "capd")}
	build := exec.Command("go", "build", "-o", p.capd, "./cmd/capd")
	build.Dir = "../../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	files, more := testrecord.Office()
	p.must(os.Mkdir(p.dir, 0o700)) // the pictures have its name, and not where it is
	if err := testrecord.Write(p.dir, files, more...); err != nil {
		t.Fatal(err)
	}
	address := p.serve()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(binary), chromedp.Flag("disable-gpu", true), chromedp.Flag("lang", "en"))
	if os.Getuid() == 0 { // whose browser has no sandbox; what it shows is the test's own
		options = append(options, chromedp.NoSandbox)
	}
	ctx, end := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(end)
	ctx, end = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(end)
	p.ctx, end = chromedp.NewContext(ctx)
	t.Cleanup(end)
	p.must(chromedp.Do(p.ctx))
	p.watch()
	p.size(1280, 900)
	p.must(chromedp.Do(p.ctx, chromedp.Navigate(address)))
	p.settle()
	return p
}

// serve starts capd web, and returns its address.
func (p *page) serve() string {
	cmd := exec.Command(p.capd, "web", p.dir)
	out, err := cmd.StdoutPipe()
	p.must(err)
	p.must(cmd.Start())
	p.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			p.t.Errorf("capd web: %v", err)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	p.must(err)
	u, err := url.Parse(strings.TrimSpace(line))
	p.must(err)
	p.host = u.Host
	return u.String()
}

func (p *page) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *page) say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wrong = append(p.wrong, fmt.Sprintf(format, args...))
}

// watch gathers errors of the console and requests to other hosts.
func (p *page) watch() {
	each(p, runtime.ConsoleAPICalled, func(e runtime.EventConsoleAPICalled) {
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning {
			p.say("console: %+v", e.Args)
		}
	})
	each(p, runtime.ExceptionThrown, func(e runtime.EventExceptionThrown) { p.say("exception: %+v", e.ExceptionDetails) })
	each(p, browserlog.EntryAdded, func(e browserlog.EventEntryAdded) {
		if e.Entry.Level == browserlog.EntryLevelError && !strings.Contains(e.Entry.URL, "v1/filter") { // a wrong filter is answered with 400
			p.say("log: %s %s", e.Entry.Text, e.Entry.URL)
		}
	})
	each(p, network.RequestWillBeSent, func(e network.EventRequestWillBeSent) {
		if u, err := url.Parse(e.Request.URL); err != nil || u.Host != p.host {
			p.say("request to another host: %s", e.Request.URL)
		}
	})
	_, err := chromedp.Call(p.ctx, browserlog.Enable, cdp.Empty{})
	p.must(err)
	_, err = chromedp.Call(p.ctx, network.Enable, network.EnableParams{})
	p.must(err)
}

func each[E any](p *page, ev cdp.Event[E], do func(E)) {
	events := chromedp.Events(p.ctx, ev)
	go func() {
		for e, err := range events {
			if err != nil {
				return
			}
			do(e)
		}
	}()
}

// size sets the size of the window.
func (p *page) size(width, height int64) {
	p.t.Helper()
	p.must(chromedp.Do(p.ctx, chromedp.EmulateViewport(width, height)))
}

// eval returns the value of an expression in the page.
func eval[T any](p *page, expression string) T {
	p.t.Helper()
	v, err := chromedp.Run(p.ctx, chromedp.Evaluate[T](expression, func(e *runtime.EvaluateParams) { e.AwaitPromise = new(true) }))
	if err != nil {
		p.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// until waits for an expression to be true.
func (p *page) until(expression string) {
	p.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if eval[bool](p, "!!("+expression+")") {
			return
		}
		if time.Now().After(end) {
			p.picture("failed.png")
			p.t.Fatalf("not in time: %s\n%s", expression, eval[string](p, "document.body.innerText"))
		}
	}
}

// settle waits for the page to have all that it asked for, and to have drawn it.
func (p *page) settle() {
	p.t.Helper()
	p.until(`document.getElementById("main")?.getAttribute("aria-busy") === "false"`)
	eval[bool](p, "new Promise(r => requestAnimationFrame(() => requestAnimationFrame(() => r(true))))")
}

// click clicks the middle of an element, as a person does: it must be there to be hit.
func (p *page) click(selector string) {
	p.t.Helper()
	p.settle()
	p.must(chromedp.Do(p.ctx, chromedp.Click(chromedp.CSS(selector))))
	p.settle()
}

func (p *page) text(selector string) string {
	p.t.Helper()
	return eval[string](p, fmt.Sprintf("document.querySelector(%q).innerText", selector))
}

// picture keeps a picture of the page: in docs with -update, else with the test's artefacts.
func (p *page) picture(name string) {
	p.t.Helper()
	b, err := chromedp.Run(p.ctx, chromedp.CaptureScreenshot())
	p.must(err)
	dir := p.t.ArtifactDir()
	if *update && strings.HasPrefix(name, "web") {
		dir = "../../../docs"
	}
	p.must(os.WriteFile(filepath.Join(dir, name), b, 0o644))
	if len(b) > 200<<10 {
		p.t.Errorf("%s has %d bytes", name, len(b))
	}
}

// scheme chooses the colours.
func (p *page) scheme(name string) {
	p.t.Helper()
	_, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}}})
	p.must(err)
	p.settle()
}

// drag drags over a part of the plot.
func (p *page) drag(from, to float64) {
	p.t.Helper()
	p.settle()
	eval[bool](p, `(document.querySelector(".u-over").scrollIntoView({block: "center"}), true)`)
	box := eval[[]float64](p, `(r => [r.left, r.top, r.width, r.height])(document.querySelector(".u-over").getBoundingClientRect())`)
	y := box[1] + box[3]/2
	p.must(chromedp.Do(p.ctx, chromedp.DragAndDropXY(box[0]+from*box[2], y, box[0]+to*box[2], y)))
	p.settle()
}

// TestPage does with the page what people do.
func TestPage(t *testing.T) {
	p := open(t)
	t.Run("overview", p.overview)
	t.Run("accessible", p.accessible)
	t.Run("span", p.span)
	t.Run("filter", p.filter)
	t.Run("flow", p.flow)
	t.Run("download", p.download)
	t.Run("keys", p.keys)
	t.Run("token", p.token)
	t.Run("sizes", p.sizes)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.wrong {
		t.Error(w)
	}
}

func (p *page) overview(t *testing.T) {
	if v := p.text("#verdict"); !strings.HasPrefix(v, "INCOMPLETE") {
		t.Errorf("verdict %q", v)
	}
	for lane, want := range map[string]string{"lost": "Lost: 1 time, 42 packets", "gap": "Not recorded: 1 time", "damaged": "Damaged or unknown: 1 time", "deleted": "Deleted by limits: 1 time", "held": "Held: 1 time"} {
		if got := p.text(".lane." + lane + " p"); got != want {
			t.Errorf("%s: %q, want %q", lane, got, want)
		}
		if n := eval[int](p, fmt.Sprintf("document.querySelectorAll('.lane.%s rect').length", lane)); n != 1 {
			t.Errorf("%s: %d marks", lane, n)
		}
	}
	for table, want := range map[string]string{"#hosts": "203.0.113.10", "#ports": "tcp 443", "#protocols": "tcp", "#flows": "203.0.113.10:443", "#packets": "host0.example.net"} {
		if got := p.text(table); !strings.Contains(got, want) {
			t.Errorf("%s lacks %s:\n%s", table, want, got)
		}
	}
	p.click("#missing summary")
	if got := p.text("#reasons"); !strings.Contains(got, "dropped by the kernel, 42 packets") || !strings.Contains(got, "interface down") {
		t.Errorf("reasons: %s", got)
	}
	p.click("#missing summary")
	p.click("#files-box summary")
	p.click("#ledger-box summary")
	p.until(`document.querySelector("#files").innerText.includes("held") && document.querySelector("#ledger").innerText.includes("gap")`)
	p.click("#files-box summary")
	p.click("#ledger-box summary")
	eval[bool](p, "(scrollTo(0, 0), true)")
	p.picture("web.png")
}

// accessible asks axe-core, in light and dark.
func (p *page) accessible(t *testing.T) {
	axe, err := os.ReadFile(os.Getenv("CAPD_AXE"))
	p.must(err)
	p.must(chromedp.Do(p.ctx, chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, runtime.Evaluate, runtime.EvaluateParams{Expression: string(axe)})
		return err
	})))
	type finding struct {
		ID, Impact, Help string
		Nodes            []struct{ HTML, FailureSummary string }
	}
	for _, scheme := range []string{"light", "dark"} {
		p.scheme(scheme)
		found := eval[struct{ Violations []finding }](p, "axe.run().then(r => ({violations: r.violations.map(v => ({id: v.id, impact: v.impact, help: v.help, nodes: v.nodes.slice(0, 3).map(n => ({html: n.html, failureSummary: n.failureSummary}))}))}))")
		for _, v := range found.Violations {
			if v.Impact == "serious" || v.Impact == "critical" {
				t.Errorf("%s, %s: %s: %s %+v", scheme, v.Impact, v.ID, v.Help, v.Nodes)
			}
		}
		p.picture("page-" + scheme + ".png")
	}
	p.scheme("light")
}

// span drags over minutes and then over less than a second.
func (p *page) span(t *testing.T) {
	before := p.text("#span")
	p.drag(0.2, 0.4)
	if p.text("#span") == before {
		t.Errorf("the span is still %s", before)
	}
	for range 12 {
		p.click("#in")
	}
	if s := p.text("#span"); !regexp.MustCompile(` (ms|µs)$`).MatchString(s) {
		t.Errorf("zoomed to %s", s)
	}
	p.must(chromedp.Do(p.ctx, chromedp.NavigateBack()))
	p.settle()
	p.click("#all")
	if got := p.text("#span"); got != before {
		t.Errorf("all is %s, want %s", got, before)
	}
	p.must(chromedp.Do(p.ctx, chromedp.Click(chromedp.CSS(".lane.lost rect"))))
	p.settle()
	if got := p.text("#span"); !strings.Contains(got, "T12:0") || got == before {
		t.Errorf("a click on the loss shows %s", got)
	}
	p.click("#all")
}

// write types a filter and applies it with Enter.
func (p *page) write(filter string) {
	p.t.Helper()
	p.settle()
	p.must(chromedp.Do(p.ctx, chromedp.Click(chromedp.CSS("#filter")), chromedp.KeyEvent("a", chromedp.KeyModifiers(chromedp.ModifierCtrl)), chromedp.SendKeys(chromedp.CSS("#filter"), filter+kb.Enter)))
	p.settle()
}

func (p *page) filter(t *testing.T) {
	p.write("tcp prot 443")
	p.until(`document.querySelector("#filter-error").textContent`)
	if got := p.text("#filter-error"); !strings.HasPrefix(got, "tcp prot 443\n    ^ ") {
		t.Errorf("the error is\n%s", got)
	}
	if eval[string](p, `document.querySelector("#filter").getAttribute("aria-invalid")`) != "true" {
		t.Error("the field is not called wrong")
	}
	p.write("udp port 53")
	p.until(`document.querySelector("#summary").textContent.startsWith("78 packets")`)
	if got := p.text("#filter-error"); got != "" {
		t.Errorf("the error is still %s", got)
	}
	p.click("#hosts tbody tr:nth-child(2) button")
	if got := eval[string](p, `document.querySelector("#filter").value`); !strings.HasPrefix(got, "(udp port 53) and host ") {
		t.Errorf("a click on a talker makes the filter %s", got)
	}
	p.click("#clear")
}

func (p *page) flow(t *testing.T) {
	p.click("#flows tbody tr:first-child button")
	name := p.text("#flow-name")
	if !strings.Contains(name, "203.0.113.10:443") {
		t.Errorf("the flow is %s", name)
	}
	if got := p.text("#packets"); strings.Contains(got, "dns") {
		t.Errorf("other packets are shown:\n%s", got)
	}
	p.click("#packets tbody tr:nth-child(2) button")
	p.until(`!document.querySelector("#packet").hidden`)
	if got := p.text("#layers"); !strings.Contains(got, "ethernet") || !strings.Contains(got, "ipv4") || !strings.Contains(got, "tcp") {
		t.Errorf("layers:\n%s", got)
	}
	if got := p.text("#bytes"); !strings.HasPrefix(got, "0000  02 00") {
		t.Errorf("bytes:\n%s", got)
	}
	p.picture("web-packet.png")
	p.click("#flow-clear")
}

// download takes a file, which is what the command line on the page gives.
func (p *page) download(t *testing.T) {
	p.write("udp port 53")
	_, err := chromedp.CallBrowser(p.ctx, browser.SetDownloadBehavior, browser.SetDownloadBehaviorParams{
		Behavior: browser.SetDownloadBehaviorBehaviorAllow, DownloadPath: p.files, EventsEnabled: new(true),
	})
	p.must(err)
	p.click("#download")
	p.until(`/^capd.*INCOMPLETE: 78 packets/.test(document.querySelector("#took").textContent)`)
	path := filepath.Join(p.files, "capd.pcapng")
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			break
		} else if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	p.must(err)
	command := p.text("#command")
	want := filepath.Join(t.TempDir(), "want.pcapng")
	cmd := exec.Command("sh", "-c", p.capd+strings.TrimPrefix(command, "capd")+" -w "+want)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != 3 {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	b, err := os.ReadFile(want)
	p.must(err)
	if n := lastBlock(b); len(got) != len(b) || !bytes.Equal(got[:n], b[:n]) {
		t.Errorf("the download has %d bytes, and %s gives %d, of which the last block begins at %d", len(got), command, len(b), n)
	}
	p.click("#copy")
	p.until(`document.querySelector("#took").textContent.includes("command line is")`)
	p.click("#clear")
}

// lastBlock returns where the last block begins, which has the time of the answer.
func lastBlock(b []byte) int {
	return len(b) - int(binary.LittleEndian.Uint32(b[len(b)-4:]))
}

// keys moves the timeline with the keyboard alone.
func (p *page) keys(t *testing.T) {
	before := p.text("#span")
	eval[bool](p, `(document.querySelector("#plot").focus(), true)`)
	seen := map[string]bool{before: true}
	for _, key := range []string{"+", "+", kb.ArrowLeft, kb.ArrowRight, kb.ArrowRight} {
		p.must(chromedp.Do(p.ctx, chromedp.KeyEvent(key)))
		p.settle()
		seen[p.text("#span")] = true
	}
	if len(seen) < 5 {
		t.Errorf("keys have shown only %v", seen)
	}
	p.must(chromedp.Do(p.ctx, chromedp.KeyEvent("0")))
	p.settle()
	if got := p.text("#span"); got != before {
		t.Errorf("0 shows %s", got)
	}
}

// token: a reload goes on, and the address has no token any more.
func (p *page) token(t *testing.T) {
	if at := eval[string](p, "location.hash"); regexp.MustCompile(`^#[A-Z2-7]{20,}$`).MatchString(at) {
		t.Errorf("the address still has the token: %s", at)
	}
	if got := eval[string](p, "document.cookie"); got != "" {
		t.Errorf("cookies: %s", got)
	}
	eval[bool](p, "(setTimeout(() => location.reload(), 0), true)")
	p.until(`performance.getEntriesByType("navigation")[0].type === "reload" && document.querySelector("#verdict")?.textContent.startsWith("INCOMPLETE")`)
	p.settle()
}

// sizes: nothing is cut or needs scrolling to the side, from phones to large screens.
func (p *page) sizes(t *testing.T) {
	for _, width := range []int64{320, 768, 1920, 3840} {
		p.size(width, 900)
		p.settle()
		if wide := eval[int64](p, "document.documentElement.scrollWidth"); wide > width {
			t.Errorf("at %d pixels the page is %d wide", width, wide)
		}
		p.until(fmt.Sprintf(`Math.abs(document.querySelector(".u-wrap").clientWidth - document.querySelector("#plot").clientWidth) < 2 && innerWidth === %d`, width))
	}
}
