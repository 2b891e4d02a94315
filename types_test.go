package capd_test

import (
	"go/ast"
	"path"
	"testing"
)

// mostMembers is how many methods, and how many fields, a type may have that a
// reader can hold in mind.
const mostMembers = 15

// largeTypes are the types that may have more, each with its reason.
var largeTypes = map[string]string{
	"bench/race/Heat":            "a row of the race's table, as JSON",
	"capture/bpf/abi":            "the numbers of a system's BPF device",
	"capture/bpf/source":         "device.Backend, with what it may have besides",
	"capture/bpf/node":           "the calls that a BPF device takes, each once",
	"config/Recording":           "the keys of an [[interface]] table",
	"config/checker":             "a rule each, of a few lines",
	"filter/generator":           "a method for each primitive of the language",
	"filter/parser":              "a method for each production of the grammar",
	"flow/Frame":                 "a step for each header, of a few lines",
	"flow/record":                "a column of a flow table each",
	"internal/control/Interface": "what the status says of an interface, docs/control.md",
	"internal/daemon/Daemon":     "what the control socket asks of it, a few lines each",
	"internal/daemon/manager":    "what happens to recorders: they start, go on, are replaced and end",
	"internal/decode/Frame":      "the object of capd watch --json",
	"internal/extract/stream":    "a step of reading one file each, of a few lines",
	"internal/finish/Queue":      "one life of files: taken in, queued, worked on, tried again",
	"internal/manual/page":       "a macro of man(7) each",
	"internal/metrics/families":  "a metric each",
	"internal/read/File":         "questions about a file and its last record, a line or two each",
	"internal/recorder/Config":   "what to record, and who is told of it",
	"internal/recorder/Recorder": "what a daemon asks of a recorder, a few lines each",
	"internal/recorder/loop":     "a step of the loop each; its fields are grouped",
	"internal/recorder/Status":   "the counters of a recorder",
	"internal/restart/State":     "a field of the state each",
	"internal/retain/Keeper":     "one loop: look, plan, delete, rest; and what others ask of it",
	"internal/top/model":         "a message of the terminal each",
	"internal/verify/Report":     "the object of capd verify --json, docs/seal.md",
	"internal/verify/walk":       "a rule of what lines prove each, of a few lines; its fields are grouped",
	"internal/watch/Options":     "the settings of a command",
	"internal/web/Server":        "a method for each question of the API, of a few lines",
	"internal/web/timeline":      "the object of GET /v1/timeline, docs/api.md",
	"ledger/Entry":               "the fields of a line, docs/ledger.md",
	"ledger/Ledger":              "a step of writing or of sealing lines each; its fields are grouped",
	"store/Directory":            "questions about one listing, a few lines each",
	"pcap/Reader":                "steps of reading, and questions about the last record, of a few lines",
	"pcap/decoder":               "a step for each kind of record, and a quick one for what nearly all are",
	"writer/pool":                "a step of a chunk's life each, of a few lines",
	"writer/Journal":             "a store or a question each, of a few lines",
	"writer/file":                "a step of a file's life each; its fields are grouped",
	"writer/Options":             "the settings of a recording",
	"writer/Stats":               "the counters of a recording",
	"writer/Writer":              "what one goroutine does with one stream of packets; its fields are grouped",
}

// A member count is how many methods and fields a type has.
type memberCount struct{ methods, fields int }

// TestTypesAreSmall keeps types to a size that can be understood at once.
func TestTypesAreSmall(t *testing.T) {
	counts := make(map[string]*memberCount)
	of := func(pkg, name string) *memberCount {
		key := path.Join(pkg, name)
		if counts[key] == nil {
			counts[key] = new(memberCount)
		}
		return counts[key]
	}
	for _, s := range sources(t) {
		if s.test() {
			continue
		}
		for _, d := range s.file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Recv != nil {
					of(s.pkg(), receiver(d)).methods++
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					if ts, ok := spec.(*ast.TypeSpec); ok {
						if st, ok := ts.Type.(*ast.StructType); ok {
							of(s.pkg(), ts.Name.Name).fields = st.Fields.NumFields()
						}
					}
				}
			}
		}
	}
	for name, c := range counts {
		reason, large := largeTypes[name], c.methods > mostMembers || c.fields > mostMembers
		if large && reason == "" {
			t.Errorf("%s has %d methods and %d fields: more than %d, and no reason is given", name, c.methods, c.fields, mostMembers)
		}
		if !large && reason != "" {
			t.Errorf("%s has %d methods and %d fields: it needs no reason any more", name, c.methods, c.fields)
		}
	}
}
