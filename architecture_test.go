package capd_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	module = "capd/"
	unix   = "golang.org/x/sys/unix"
)

// maxLines is the most that a reader holds in mind of one file.
const maxLines = 600

// mayImport is the architecture: by package, which packages of capd it may
// import, and whether it may talk to the system itself. Tests may import
// internal/test* and their own package besides.
var mayImport = map[string][]string{
	"bench/alerts":     {unix},
	"bench/find":       {unix},
	"bench/inject":     {unix},
	"bench/race":       {"bench/inject", unix},
	"capture":          {"capture/afpacket", "capture/bpf", "capture/device", "capture/nflog", "pcap"},
	"capture/afpacket": {"capture/device", "pcap", unix},
	"capture/bpf":      {"capture/device", "pcap", unix},
	"capture/device":   {"pcap", "internal/hint"},
	"capture/nflog":    {"capture/device", "pcap", "internal/hint", unix},
	"capture/fake":     {"capture/device", "filter", "pcap"}, // for tests only
	"cmd/capd":         {"capture", "config", "crypt", "filter", "ledger", "pcap", "seal", "store", "writer", "internal/*"},
	"config":           {"crypt"},
	"crypt":            {},
	"filter":           {},
	"flow":             {"filter", "pcap"},
	"internal/alert":   {"flow", "pcap", "store", "internal/extract", "internal/text"},
	"internal/finish":  {"flow", "ledger", "seal", "store", "writer", "internal/frames", "internal/index", unix},
	"internal/frames":  {},
	"internal/control": {"internal/hint", "internal/text", unix},
	"internal/daemon": {
		"capture", "config", "filter", "ledger", "pcap", "seal", "store", "writer",
		"internal/control", "internal/finish", "internal/hint", "internal/holds", "internal/setup", "internal/linkwatch", "internal/live", "internal/metrics", "internal/recorder", "internal/restart", "internal/retain",
		"internal/sysclock", "internal/text",
	},
	"internal/web": {
		"crypt", "filter", "flow", "ledger", "pcap", "store",
		"internal/decode", "internal/extract", "internal/hint", "internal/index", "internal/inventory", "internal/read", "internal/text",
	},
	"internal/check": {
		"capture", "config", "pcap", "seal", "store",
		"internal/control", "internal/setup", "internal/hint", "internal/retain", "internal/sandbox", "internal/selftest", "internal/text",
	},
	"internal/setup":   {"capture", "config", "filter", "pcap", "internal/hint"},
	"internal/extcap":  {},
	"internal/extract": {"crypt", "filter", "flow", "ledger", "pcap", "store", "internal/index", "internal/inventory", "internal/read", "internal/text"},
	"internal/hint":    {},
	"internal/live":    {"flow", "pcap", "writer"},
	"internal/remote":  {"internal/hint", "internal/text"},
	"internal/holds":   {"ledger", "store"},
	"internal/read":    {"crypt", "filter", "pcap", "store", "internal/frames", "internal/text", unix},
	"internal/serve":   {},
	"internal/service": {
		"config", "store", "internal/control", "internal/daemon", "internal/hint", "internal/journal", "internal/metrics", "internal/notify", "internal/restart",
		"internal/sandbox", "internal/terminal", "internal/text",
	},
	"internal/terminal": {"internal/text"},
	"internal/text":     {"config"},
	"internal/watch": {
		"capture", "config", "crypt", "pcap", "store",
		"internal/decode", "internal/extract", "internal/hint", "internal/setup", "internal/read", "internal/sandbox", "internal/serve", "internal/terminal", "internal/text",
	},
	"internal/decode":      {"pcap"},
	"internal/index":       {"crypt", "filter", "flow", "pcap", "store", "internal/read", "internal/text", unix},
	"internal/inventory":   {"ledger", "store"},
	"internal/journal":     {},
	"internal/linkwatch":   {unix},
	"internal/manual":      {},
	"internal/metrics":     {"internal/control"},
	"internal/notify":      {unix},
	"internal/recorder":    {"capture", "config", "crypt", "ledger", "pcap", "store", "writer", "internal/restart", "internal/text"},
	"internal/restart":     {"capture", "capture/device", "config", "pcap", "store", "writer", unix},
	"internal/retain":      {"ledger", "store", unix},
	"internal/sandbox":     {"internal/hint", unix},
	"internal/sysclock":    {unix},
	"internal/verify":      {"ledger", "seal", "store", "internal/finish", "internal/retain"},
	"internal/testdisk":    {"internal/testnet", unix},
	"internal/testnet":     {unix},
	"internal/testsystemd": {unix},
	"internal/testterm":    {},
	"internal/testrecord":  {"ledger", "pcap", "store", "internal/index"},
	"internal/top":         {"internal/control", "internal/hint", "internal/text"},
	"internal/web/browser": {"internal/testrecord"},                  // tests only
	"packaging":            {"config", "ledger", "pcap", "store"},    // tests only
	"packaging/flows":      {"internal/index", "pcap"},               // tests only
	"packaging/prometheus": {"internal/control", "internal/metrics"}, // tests only
	"packaging/systemd":    {"ledger", "pcap", "store"},              // tests only
	"pcap":                 {},
	"ledger":               {"seal", "store", unix},
	"seal":                 {"store"},
	"store":                {"pcap", "internal/hint", unix},
	"writer":               {"crypt", "ledger", "pcap", "seal", "store", "internal/text", unix},
	"internal/selftest":    {"capture", "pcap", "internal/hint"},
}

// testsMayImport is what the tests of a package may import beyond that.
var testsMayImport = map[string][]string{
	"filter":             {"flow", "pcap", unix},               // rows, and the kernel, are the judges of conditions and programs
	"ledger":             {"pcap"},                             // for the formats in names
	"internal/alert":     {"ledger", "internal/index"},         // make recordings
	"internal/finish":    {"pcap"},                             // for the formats in names
	"internal/daemon":    {"capture/fake", unix},               // watches which files a start reads
	"internal/service":   {unix},                               // takes a capability from itself
	"internal/live":      {"internal/index", "ledger"},         // tables that are made from files are the judge
	"internal/journal":   {unix},                               // asks the system what a file is
	"cmd/capd":           {unix},                               // asks a pipe how full it is
	"internal/recorder":  {"capture/fake", "seal"},             // for the digests of files
	"internal/retain":    {"pcap"},                             // for the same
	"internal/inventory": {"pcap", "writer"},                   // for files
	"internal/read":      {"internal/hint"},                    // as commands print errors
	"internal/extract":   {"internal/hint", "internal/frames"}, // the same; makes recordings
	"internal/verify":    {"pcap"},                             // for the formats in names
	"internal/remote":    {"pcap"},                             // for recordings
	"internal/terminal":  {"ledger"},                           // a long reading
	"capture":            {"capture/fake", unix},
	"capture/bpf":        {"capture", "filter", "config", "internal/daemon", "internal/restart", "ledger", "store", "writer"}, // frames from a simulated device to files
	"capture/fake":       {"capture"},
}

// A source is a parsed file of the tree.
type source struct {
	path string // with slashes, from the root of the module
	file *ast.File
	fset *token.FileSet
}

func (s *source) pkg() string { return path.Dir(s.path) }
func (s *source) test() bool  { return strings.HasSuffix(s.path, "_test.go") }

// lines does not count what is behind the last newline as a line.
func (s *source) lines() int { return s.fset.File(s.file.Pos()).LineCount() - 1 }

func (s *source) at(n ast.Node) token.Position { return s.fset.Position(n.Pos()) }

// sources parses all files of the module, of every system.
func sources(t *testing.T) []*source {
	t.Helper()
	var all []*source
	fset := token.NewFileSet()
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && name != "." && skipped(d.Name()) {
			return filepath.SkipDir
		}
		if d.IsDir() || filepath.Ext(name) != ".go" {
			return nil
		}
		f, err := parser.ParseFile(fset, name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		all = append(all, &source{filepath.ToSlash(name), f, fset})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 50 {
		t.Fatalf("%d files", len(all))
	}
	return all
}

// skipped says of a folder that its files are none of the module's packages.
func skipped(name string) bool {
	return name == "testdata" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_")
}

// TestImports holds the packages to the architecture.
func TestImports(t *testing.T) {
	for _, s := range sources(t) {
		allowed, ok := mayImport[s.pkg()]
		if !ok && s.pkg() != "." {
			t.Errorf("%s: package %s is not in the architecture", s.path, s.pkg())
			continue
		}
		if s.test() {
			allowed = append(slices.Clip(allowed), testsMayImport[s.pkg()]...)
			allowed = append(allowed, s.pkg(), "internal/test*")
		}
		for _, spec := range s.file.Imports {
			p, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			ours, isOurs := strings.CutPrefix(p, module)
			if isOurs && !permits(allowed, ours) || p == unix && !permits(allowed, unix) {
				t.Errorf("%v: %s imports %s", s.at(spec), s.pkg(), p)
			}
		}
	}
}

func permits(allowed []string, p string) bool {
	return slices.ContainsFunc(allowed, func(pattern string) bool {
		ok, err := path.Match(pattern, p)
		return ok && err == nil
	})
}

// TestFilesAreShort keeps files to a size that can be read at one sitting.
func TestFilesAreShort(t *testing.T) {
	for _, s := range sources(t) {
		if n := s.lines(); n > maxLines {
			t.Errorf("%s has %d lines, more than %d", s.path, n, maxLines)
		}
	}
}

// TestNothingRunsBeforeMain: no package does anything by being imported.
func TestNothingRunsBeforeMain(t *testing.T) {
	for _, s := range sources(t) {
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%v: init", s.at(f))
			}
		}
	}
}

// TestOnlyMainExits: everything else returns an error.
func TestOnlyMainExits(t *testing.T) {
	for _, s := range sources(t) {
		if s.test() || s.file.Name.Name == "main" && path.Base(s.path) == "main.go" {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			call, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			pkg, ok := call.X.(*ast.Ident)
			if ok && exits(pkg.Name, call.Sel.Name) {
				t.Errorf("%v: %s.%s outside main.go", s.at(n), pkg.Name, call.Sel.Name)
			}
			return true
		})
	}
}

// TestLedgerLinesAreConstructed: only package ledger decides which fields a line
// has. Elsewhere an Entry is made by one of its constructors.
func TestLedgerLinesAreConstructed(t *testing.T) {
	for _, s := range sources(t) {
		if s.test() {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			lit, ok := n.(*ast.CompositeLit)
			if !ok || len(lit.Elts) == 0 {
				return true
			}
			sel, ok := lit.Type.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			pkg, ok := sel.X.(*ast.Ident)
			if ok && pkg.Name == "ledger" && sel.Sel.Name == "Entry" {
				t.Errorf("%v: a literal ledger.Entry outside package ledger", s.at(n))
			}
			return true
		})
	}
}

func exits(pkg, name string) bool {
	return pkg == "os" && name == "Exit" || pkg == "syscall" && name == "Exit" ||
		pkg == "log" && (strings.HasPrefix(name, "Fatal") || strings.HasPrefix(name, "Panic"))
}

// TestExportedIsDocumented: what others may use says what it is. A group of
// values may be documented as one.
func TestExportedIsDocumented(t *testing.T) {
	for _, s := range sources(t) {
		if s.test() || s.file.Name.Name == "main" {
			continue
		}
		for _, d := range s.file.Decls {
			for _, name := range undocumented(d) {
				t.Errorf("%v: %s has no comment", s.at(name), name.Name)
			}
		}
	}
}

func undocumented(d ast.Decl) []*ast.Ident {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Doc == nil && d.Name.IsExported() && (d.Recv == nil || ast.IsExported(receiver(d))) && !wellKnown[d.Name.Name] {
			return []*ast.Ident{d.Name}
		}
	case *ast.GenDecl:
		if d.Doc != nil {
			return nil
		}
		var all []*ast.Ident
		for _, spec := range d.Specs {
			all = append(all, undocumentedSpec(spec)...)
		}
		return all
	}
	return nil
}

// wellKnown are methods whose name says all.
var wellKnown = map[string]bool{"Error": true, "Unwrap": true, "String": true}

func undocumentedSpec(spec ast.Spec) []*ast.Ident {
	switch spec := spec.(type) {
	case *ast.TypeSpec:
		if spec.Doc == nil && spec.Name.IsExported() {
			return []*ast.Ident{spec.Name}
		}
	case *ast.ValueSpec:
		if spec.Doc == nil && spec.Comment == nil {
			return slices.DeleteFunc(slices.Clone(spec.Names), func(n *ast.Ident) bool { return !n.IsExported() })
		}
	}
	return nil
}

func receiver(d *ast.FuncDecl) string {
	t := d.Recv.List[0].Type
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}
