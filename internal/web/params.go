package web

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"capd/filter"
	"capd/internal/extract"
	"capd/internal/index"
	"capd/internal/text"
)

// A query is what the parameters of a request ask for. Every request takes some of them: see routes.
type query struct {
	since, until time.Time // [since, until); zero: no bound
	interfaces   []string  // none: all
	expression   string
	flows        extract.Flows
	bins         int
	offset       int
	limit        int
	by           index.Measure
	group        group
	detail       bool
}

// A group is what flows are summed up by.
type group string

// Groups.
const (
	groupFlows     group = "flows"
	groupHosts     group = "hosts"
	groupPorts     group = "ports"
	groupProtocols group = "protocols"
)

const (
	maxExpression = 8 << 10
	maxListed     = 64 // interfaces or flows of a question
	maxName       = 256
)

// A paramError says what is wrong with a parameter.
type paramError struct {
	param, value string
	want         string
	offset       *int // in the value, in bytes
	hint         string
}

func (e *paramError) Error() string {
	return fmt.Sprintf("%s %s: %s", e.param, text.Line(strconv.Quote(e.value)), e.want)
}

// parseQuery reads the parameters of a request that takes those that are named.
func parseQuery(raw string, takes []string) (q query, err error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return q, &paramError{param: "query", value: clip(raw), want: err.Error()}
	}
	q = query{bins: 600, limit: 100, by: index.ByBytes, group: groupFlows}
	for key, all := range values {
		switch {
		case !slices.Contains(takes, key):
			return q, &paramError{param: "parameter", value: clip(key), want: "expected one of " + strings.Join(takes, ", ")}
		case len(all) > 1 && key != "interface" && key != "flow" && key != "id":
			return q, &paramError{param: key, value: clip(all[1]), want: "it is given twice"}
		case len(all) > maxListed:
			return q, &paramError{param: key, value: clip(all[0]), want: fmt.Sprintf("at most %d are taken", maxListed)}
		}
		for _, v := range all {
			if err := q.set(key, v); err != nil {
				return q, err
			}
		}
	}
	if !q.since.IsZero() && !q.until.IsZero() && !q.since.Before(q.until) {
		return q, &paramError{param: "until", value: values.Get("until"), want: "expected a time after since"}
	}
	return q, nil
}

// set sets a parameter; an empty value is none.
func (q *query) set(key, v string) (err error) {
	if v == "" {
		return nil
	}
	switch key {
	case "since":
		q.since, err = parseTime(key, v)
	case "until":
		q.until, err = parseTime(key, v)
	case "interface":
		q.interfaces, err = append(q.interfaces, v), checkName(key, v)
	case "filter":
		q.expression, err = parseFilter(key, v)
	case "flow", "id":
		err = q.addFlow(key, v)
	case "bins":
		q.bins, err = parseNumber(key, v, 1, maxBins)
	case "offset":
		q.offset, err = parseNumber(key, v, 0, maxOffset)
	case "limit":
		q.limit, err = parseNumber(key, v, 1, maxPage)
	case "by":
		q.by, err = parseWord(key, v, index.ByBytes, index.ByPackets)
	case "group":
		q.group, err = parseWord(key, v, groupFlows, groupHosts, groupPorts, groupProtocols)
	case "detail":
		var word string
		word, err = parseWord(key, v, "0", "1")
		q.detail = word == "1"
	}
	return err
}

func (q *query) addFlow(key, v string) error {
	parse := extract.ParseFlow
	if key == "id" {
		parse = extract.ParseCommunityID
	}
	if len(v) > maxName {
		return &paramError{param: key, value: clip(v), want: "it is too long"}
	}
	f, err := parse(v)
	if err != nil {
		return &paramError{param: key, value: v, want: err.Error()}
	}
	q.flows = append(q.flows, f)
	return nil
}

// parseTime reads a time as RFC 3339 has it, of the years that have nanoseconds.
func parseTime(key, v string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, v)
	if y := t.Year(); err != nil || y < 1700 || y > 2200 {
		return time.Time{}, &paramError{param: key, value: clip(v), want: "expected a time as 2026-01-02T03:04:05.123456789Z"}
	}
	return t.UTC(), nil
}

func parseNumber(key, v string, least, most int) (int, error) {
	n, err := strconv.Atoi(v)
	if err != nil || n < least || n > most {
		return 0, &paramError{param: key, value: clip(v), want: fmt.Sprintf("expected a number from %d to %d", least, most)}
	}
	return n, nil
}

func parseWord[W ~string](key, v string, words ...W) (W, error) {
	if slices.Contains(words, W(v)) {
		return W(v), nil
	}
	return "", &paramError{param: key, value: clip(v), want: fmt.Sprintf("expected one of %v", words)}
}

func checkName(key, v string) error {
	if len(v) > maxName || !utf8.ValidString(v) || strings.ContainsFunc(v, unicode.IsControl) {
		return &paramError{param: key, value: clip(v), want: "expected the name of an interface"}
	}
	return nil
}

// parseFilter checks the syntax of an expression, as capd extract does: whether it fits a link type is said by the answer.
func parseFilter(key, v string) (string, error) {
	v = strings.TrimSpace(v)
	if len(v) > maxExpression {
		return "", &paramError{param: key, value: clip(v), want: fmt.Sprintf("the expression is longer than %d bytes", maxExpression)}
	}
	_, err := filter.Compile(v, filter.Target{LinkType: filter.LinkEthernet})
	var s *filter.SyntaxError
	if errors.As(err, &s) {
		offset := min(max(s.Offset, 0), len(v))
		return "", &paramError{param: key, value: v, want: s.Msg, offset: &offset, hint: s.Hint}
	}
	return v, nil
}

func clip(s string) string {
	if len(s) > 100 {
		return s[:100] + "..."
	}
	return s
}

// question is what is asked of recordings.
func (s *Server) question(q *query) extract.Question {
	x := extract.Question{
		Directories: s.config.Directories, Since: q.since, Until: q.until, Expression: q.expression, Flows: q.flows,
		Software: s.config.Software, Identities: s.config.Identities,
	}
	for _, name := range q.interfaces {
		x.Interfaces = append(x.Interfaces, []string{name})
	}
	if s.config.Spell != nil {
		x.Text = s.config.Spell(&x)
	}
	return x
}
