package decode

import (
	"bytes"
	"strconv"
	"strings"
)

const maxHead = 4096 // bytes of a head that are looked through

var httpMethods = []string{
	"GET ", "POST ", "HEAD ", "PUT ", "DELETE ", "OPTIONS ", "PATCH ", "CONNECT ", "TRACE ", "PROPFIND ", "PRI * ", "HTTP/1.",
	"M-SEARCH ", "NOTIFY ", "REPORT ", "MKCOL ", "PROPPATCH ", "LOCK ", "UNLOCK ", "SUBSCRIBE ",
}

// isHTTP says whether a payload begins as a request or an answer does.
func isHTTP(x data) bool {
	b := x.b
	for _, m := range httpMethods {
		if len(b) >= len(m) && string(b[:len(m)]) == m {
			return strings.Contains(m, "/") || bytes.Contains(firstLine(b), []byte(" HTTP/")) || len(b) > maxText
		}
	}
	return false
}

// firstLine is the first line of a text, or what is there of it.
func firstLine(b []byte) []byte {
	b = b[:min(len(b), maxHead)]
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		b = b[:i]
	}
	return bytes.TrimSuffix(b, []byte("\r"))
}

// http returns HTTP, or SSDP, which took over the form of its messages.
func http(name string) protocol {
	return func(s *sink, x data) { httpMessage(s, name, x) }
}

func httpMessage(s *sink, name string, x data) {
	if !s.enter(name) {
		return
	}
	f := s.frame
	f.HTTP = &s.room.http
	*f.HTTP = HTTP{}
	h := f.HTTP
	words := strings.SplitN(string(firstLine(x.b)), " ", 3)
	shown := startLine(s, x)
	if f.Truncated { // the last word may not be whole
		words = words[:len(words)-1]
	}
	for i, w := range words {
		words[i] = printable([]byte(w))
	}
	words = append(words, "", "", "")
	if strings.HasPrefix(words[0], "HTTP/") {
		h.Version = words[0]
		h.Status, _ = strconv.Atoi(words[1][:min(len(words[1]), 3)])
	} else {
		h.Method, h.Target, h.Version = words[0], words[1], words[2]
	}
	s.field("line", "%s", shown)
	s.sayText(shown)
	httpHeaders(s, x.b, h)
}

// startLine is the first line of a message, marked where it was cut.
func startLine(s *sink, x data) string {
	line := firstLine(x.b)
	shown := printable(line)
	if len(line) == len(x.b) && !x.whole() {
		s.frame.Truncated = true
		shown += "..."
	}
	return shown
}

// headers shows the headers, and keeps the host's name.
func httpHeaders(s *sink, b []byte, h *HTTP) {
	b = b[:min(len(b), maxHead)]
	for i := 0; i < 2*maxItems; i++ {
		end := bytes.IndexByte(b, '\n')
		if end < 0 {
			return
		}
		b = b[end+1:]
		name, value, ok := bytes.Cut(firstLine(b), []byte(":"))
		if !ok || bytes.IndexByte(b, '\n') < 0 {
			return
		}
		value = bytes.TrimSpace(value)
		if bytes.EqualFold(name, []byte("host")) {
			h.Host = printable(value)
			s.sayText("host ", h.Host)
		}
		s.field(printable(name), "%s", printable(value))
	}
}

// lines returns a protocol whose messages are lines: the first one says enough.
func lines(name string) protocol {
	return func(s *sink, x data) {
		if !s.enter(name) {
			return
		}
		line := startLine(s, x)
		s.field("line", "%s", line)
		s.sayText(line)
	}
}

// isText says whether what begins a payload may be shown as a line.
func isText(x data) bool {
	line := firstLine(x.b)
	for _, c := range line[:min(len(line), 16)] {
		if c < 0x20 && c != '\t' || c == 0x7f {
			return false
		}
	}
	return len(line) > 0
}
