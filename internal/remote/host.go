// Package remote runs capd on another machine, over OpenSSH's client.
//
// The client reads the user's own configuration, so that keys, jump hosts and names are set where they are for every other use
// of ssh. What is asked for here comes after its --, and what the other machine's shell reads is quoted for sh, csh and fish.
package remote

import (
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"

	"capd/internal/text"
)

// A Host is another machine, and a directory of recordings there.
type Host struct {
	User      string // empty: as ssh's configuration says
	Name      string
	Port      string // empty: as ssh's configuration says
	Directory string // empty: where capd looks there without one
}

// errForm says what an address looks like.
var errForm = errors.New("write ssh://[USER@]HOST[:PORT]/[DIRECTORY], as ssh://root@sensor/var/lib/capd")

// Parse reads an address, ssh://[user@]host[:port]/[directory].
func Parse(s string) (Host, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "ssh" || u.Opaque != "" || u.RawQuery != "" || u.Fragment != "" || u.Hostname() == "" {
		return Host{}, errForm
	}
	h := Host{User: u.User.Username(), Name: u.Hostname(), Port: u.Port(), Directory: u.Path}
	if h.Directory == "/" {
		h.Directory = ""
	}
	if _, secret := u.User.Password(); secret {
		return Host{}, errors.New("an address has no password: ssh asks for it, or takes a key")
	}
	for _, word := range []string{h.User, h.Name} {
		if !harmless(word) {
			return Host{}, errors.New(text.Name(word) + " is no name of a user or a machine")
		}
	}
	if n, err := strconv.ParseUint(h.Port, 10, 16); h.Port != "" && (err != nil || n == 0) {
		return Host{}, errors.New("port " + text.Name(h.Port) + " is not from 1 to 65535")
	}
	if strings.ContainsFunc(h.Directory, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return Host{}, errors.New("the directory has control characters in its name")
	}
	return h, nil
}

// harmless reports whether ssh, and a shell that its configuration may call with the word in a command, take it for nothing but a
// name.
func harmless(word string) bool {
	return !strings.HasPrefix(word, "-") && !strings.ContainsFunc(word, func(r rune) bool {
		return r <= ' ' || r == 0x7f || strings.ContainsRune("'`\"$\\;&<>|(){}*?!#", r)
	})
}

// String spells the address.
func (h *Host) String() string {
	if h.Name == "" {
		return ""
	}
	u := url.URL{Scheme: "ssh", Host: h.Name, Path: h.Directory}
	if strings.Contains(h.Name, ":") {
		u.Host = "[" + h.Name + "]"
	}
	if h.Port != "" {
		u.Host = net.JoinHostPort(h.Name, h.Port)
	}
	if h.User != "" {
		u.User = url.User(h.User)
	}
	return u.String()
}

// Set reads the address, for flags.
func (h *Host) Set(s string) (err error) {
	if s == "" {
		*h = Host{}
		return nil
	}
	*h, err = Parse(s)
	return err
}

// Type names the value in the usage of flags.
func (h *Host) Type() string { return "address" }

// login are the arguments of ssh that say where to.
func (h *Host) login() (args []string) {
	if h.User != "" {
		args = append(args, "-l", h.User)
	}
	if h.Port != "" {
		args = append(args, "-p", h.Port)
	}
	return append(args, "--", h.Name)
}

// Quote spells words as a command line that sh, csh and fish read alike.
func Quote(words ...string) string {
	quoted := make([]string, len(words))
	for i, word := range words {
		quoted[i] = quote(word)
	}
	return strings.Join(quoted, " ")
}

// quote puts a word between single quotes, and behind a backslash what one of the shells reads there too.
func quote(word string) string {
	plain := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-_./:@%+,", r)
	}
	if word != "" && !strings.ContainsFunc(word, func(r rune) bool { return !plain(r) }) {
		return word
	}
	return "'" + strings.NewReplacer("'", `'\''`, `\`, `'\\'`, "!", `'\!'`).Replace(word) + "'"
}
