package alert

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A fields is what a line of Zeek's says, by the names of its fields.
type fields map[string]string

// zeekAlert reads the fields of a line of conn.log, notice.log or another log that names connections.
func zeekAlert(f fields, format Format, log string) (*Alert, error) {
	a := &Alert{Format: format, UID: f["uid"], CommunityID: f["community_id"], ID: f["note"], Title: f["msg"]}
	switch {
	case log != "":
		a.Event = log
	case a.ID != "":
		a.Event = "notice"
	case f["conn_state"] != "":
		a.Event = "conn"
	default:
		a.Event = "zeek"
	}
	if a.Event == "conn" {
		a.ID = a.UID
	}
	var err error
	if a.Time, err = zeekTime(f["ts"]); err != nil {
		return nil, fmt.Errorf("ts: %w", err)
	}
	for _, name := range []string{"vlan", "inner_vlan"} {
		if n, err := strconv.ParseUint(f[name], 10, 16); err == nil {
			a.VLANs = append(a.VLANs, uint16(n))
		}
	}
	if a.Event == "conn" { // ts is when it began
		a.Start, a.End = a.Time, a.Time
		if s := f["duration"]; s != "" {
			d, err := zeekSeconds(s)
			if err != nil {
				return a, fmt.Errorf("duration: %w", err)
			}
			a.End = a.Start.Add(d)
		}
	}
	if a.Ends, err = f.ends(); err != nil {
		return a, err
	}
	return a, a.check()
}

// ends returns the flow of a line. A notice without a connection may have addresses, and the port of the second.
func (f fields) ends() (e Ends, err error) {
	src, dst := f["id.orig_h"], f["id.resp_h"]
	srcPort, dstPort := f["id.orig_p"], f["id.resp_p"]
	if src == "" && f["src"] != "" && f["dst"] != "" {
		src, dst, srcPort, dstPort = f["src"], f["dst"], "", f["p"]
	}
	if src == "" && dst == "" {
		return e, nil
	}
	if e.Src, e.Dst, err = parseAddrs(src, dst); err != nil {
		return Ends{}, err
	}
	e.Proto, e.HasProto = parseProto(f["proto"])
	if n, ok := parseProto(f["ip_proto"]); ok {
		e.Proto, e.HasProto = n, true
	}
	if e.Proto == 1 && e.Src.Is6() { // one name for both
		e.Proto = 58
	}
	from, to, err := zeekPorts(srcPort, dstPort)
	if err != nil {
		return Ends{}, err
	}
	if isICMP(e.Proto) { // the ports are the type, and the code or the type of the answer
		if e.HasICMP = from != nil && to != nil && *from < 256 && *to < 256; e.HasICMP {
			e.ICMPType, e.ICMPCode = uint8(*from), uint8(*to)
		}
		return e, nil
	}
	e.ports(from, to)
	return e, nil
}

func zeekPorts(src, dst string) (a, b *uint16, err error) {
	for _, p := range []struct {
		text string
		to   **uint16
	}{{src, &a}, {dst, &b}} {
		if p.text == "" {
			continue
		}
		n, err := strconv.ParseUint(p.text, 10, 16)
		if err != nil {
			return nil, nil, fmt.Errorf("%q is no port", clip(p.text))
		}
		v := uint16(n)
		*p.to = &v
	}
	return a, b, nil
}

// zeekTime reads a time: seconds since 1970, or, as JSON may have it, milliseconds or ISO 8601. Zeek rounds the latter to
// microseconds, and may print a million of them.
func zeekTime(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, errors.New("there is none")
	}
	if strings.Contains(s, "T") {
		if whole, ok := strings.CutSuffix(s, ".1000000Z"); ok {
			t, err := eveTime(whole + "Z")
			return t.Add(time.Second), err
		}
		return eveTime(s)
	}
	d, err := zeekSeconds(s)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is no time", clip(s))
	}
	return inRange(time.Unix(0, 0).Add(d))
}

// latestSeconds is the most that counts as seconds since 1970: more are milliseconds.
const latestSeconds = 1 << 32

// zeekSeconds reads seconds, or milliseconds since 1970, to the nanosecond: a float64 would lose 240 of them.
func zeekSeconds(s string) (time.Duration, error) {
	bad := fmt.Errorf("%q is no number of seconds", clip(s))
	if len(s) > 40 || strings.ContainsAny(s, "xXpP_/") {
		return 0, bad
	}
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		if n, err := strconv.Atoi(s[i+1:]); err != nil || n > 30 || n < -30 {
			return 0, bad
		}
	}
	r, ok := new(big.Rat).SetString(s)
	if !ok || r.Sign() < 0 {
		return 0, bad
	}
	unit := time.Second
	if r.Cmp(big.NewRat(latestSeconds, 1)) >= 0 {
		unit = time.Millisecond
	}
	r.Mul(r, big.NewRat(int64(unit), 1))
	n := new(big.Int).Quo(r.Num(), r.Denom())
	if !n.IsInt64() {
		return 0, bad
	}
	return time.Duration(n.Int64()), nil
}

func parseZeekJSON(line []byte) (*Alert, error) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(line, &object); err != nil {
		return nil, plain(err)
	}
	f := make(fields, len(object))
	for name, raw := range object {
		text := string(raw)
		if raw[0] == '"' {
			if err := json.Unmarshal(raw, &text); err != nil {
				return nil, plain(err)
			}
		}
		if text != "null" && raw[0] != '[' && raw[0] != '{' {
			f[name] = text
		}
	}
	if f["ts"] == "" {
		return nil, errors.New("neither EVE, as it has no event_type, nor of Zeek, as it has no ts")
	}
	return zeekAlert(f, ZeekJSON, strings.TrimSuffix(f["_path"], "_log"))
}

// A zeekHeader is what header lines say about those that follow.
type zeekHeader struct {
	separator    string
	set          string // separator of the elements of a field
	empty, unset string
	path         string
	fields       []string
	types        []string
}

func newZeekHeader() *zeekHeader {
	return &zeekHeader{separator: "\t", set: ",", empty: "(empty)", unset: "-"}
}

// maxFields is more than a log has.
const maxFields = 1000

// errHeader is returned for a line before a header says what is in it.
var errHeader = errors.New("neither JSON nor behind header lines of Zeek's that name the fields")

// read takes a header line, without its #.
func (h *zeekHeader) read(line string) error {
	if s, ok := strings.CutPrefix(line, "separator "); ok { // the only one that has no separator of its own
		sep, err := unescape(strings.TrimSpace(s))
		if err != nil || sep == "" || len(sep) > 8 {
			return fmt.Errorf("%q is no separator", clip(s))
		}
		path := h.path
		*h = *newZeekHeader()
		h.separator, h.path = sep, path
		return nil
	}
	words := strings.Split(line, h.separator)
	if len(words) > maxFields {
		return fmt.Errorf("%d fields are too many", len(words))
	}
	switch rest := words[1:]; words[0] {
	case "set_separator", "empty_field", "unset_field", "path":
		if len(rest) != 1 {
			return fmt.Errorf("#%s has %d words", words[0], len(rest))
		}
		*map[string]*string{"set_separator": &h.set, "empty_field": &h.empty, "unset_field": &h.unset, "path": &h.path}[words[0]] = strings.Clone(rest[0])
	case "fields":
		h.fields, h.types = nil, nil
		for i, name := range rest {
			if slices.Contains(rest[:i], name) {
				return fmt.Errorf("#fields names %q twice", clip(name))
			}
			h.fields = append(h.fields, strings.Clone(name))
		}
	case "types":
		if len(rest) != len(h.fields) {
			return fmt.Errorf("#types has %d types for %d fields", len(rest), len(h.fields))
		}
		h.types = strings.Split(strings.Join(rest, "\x00"), "\x00")
	}
	return nil // #open, #close and what later versions may have
}

func (h *zeekHeader) parse(line []byte) (*Alert, error) {
	if len(h.fields) == 0 {
		return nil, errHeader
	}
	words := bytes.Split(line, []byte(h.separator))
	if len(words) != len(h.fields) {
		return nil, fmt.Errorf("it has %d fields, and #fields names %d", len(words), len(h.fields))
	}
	f := make(fields, len(words))
	for i, w := range words {
		text := string(w)
		if text == h.unset || text == h.empty {
			continue
		}
		text, err := unescape(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", clip(h.fields[i]), err)
		}
		if h.types != nil && !fits(h.types[i], h.fields[i]) {
			return nil, fmt.Errorf("#types says that %s is %s", clip(h.fields[i]), clip(h.types[i]))
		}
		f[h.fields[i]] = text
	}
	return zeekAlert(f, ZeekTSV, cmp.Or(h.path, f["_path"]))
}

// fits reports whether a field that is read may have a type.
func fits(kind, field string) bool {
	want := map[string]string{
		"ts": "time", "duration": "interval", "id.orig_h": "addr", "id.resp_h": "addr", "id.orig_p": "port", "id.resp_p": "port",
		"src": "addr", "dst": "addr", "p": "port",
	}[field]
	return want == "" || want == kind
}

// unescape reads \x and two hexadecimal digits as a byte, as Zeek writes what may not stand in a field.
func unescape(s string) (string, error) {
	if !strings.Contains(s, `\x`) {
		return s, nil
	}
	var b strings.Builder
	for i, part := range strings.Split(s, `\x`) {
		if i == 0 {
			b.WriteString(part)
			continue
		}
		if len(part) < 2 {
			return "", fmt.Errorf("%q ends in the middle of a byte", clip(s))
		}
		c, err := hex.DecodeString(part[:2])
		if err != nil {
			return "", fmt.Errorf(`\x%s is no byte`, part[:2])
		}
		b.Write(c)
		b.WriteString(part[2:])
	}
	return b.String(), nil
}
