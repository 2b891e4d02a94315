package extcap

import (
	"bytes"
	"testing"
)

// TestSentences: what is spelt is one line for each thing, whatever is in its name.
func TestSentences(t *testing.T) {
	var b bytes.Buffer
	hostile := "a}\n{value=lo\x1b"
	for _, err := range []error{
		WriteInterfaces(&b, "1.2", []Interface{{"capd-history", "capd history"}, {hostile, ""}}),
		WriteLinkTypes(&b, []LinkType{{1, "EN10MB", "Ethernet"}}),
		WriteFields(&b, []Field{{Flag: "--last", Display: "Last", Kind: Text, Default: "10m", Tooltip: "as {10m}"}, {Flag: "--quiet", Kind: Switch}}),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	const want = `extcap {version=1.2}{display=capd}
interface {value=capd-history}{display=capd history}
interface {value=avalue=lo}
dlt {number=1}{name=EN10MB}{display=Ethernet}
arg {number=0}{call=--last}{display=Last}{type=string}{tooltip=as 10m}{default=10m}
arg {number=1}{call=--quiet}{type=boolflag}
`
	if b.String() != want {
		t.Errorf("%s", b.String())
	}
	if Fits(hostile) || Fits("") || !Fits("eth0.5@x") {
		t.Error("names that do not fit are thought to")
	}
}
