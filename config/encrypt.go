package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"capd/crypt"
)

// encrypt checks what does not depend on the file of recipients.
func (k *checker) encrypt(c *Config) {
	e := &c.Encrypt
	if e.RecipientsFile != "" {
		k.path("recipients_file", e.RecipientsFile)
	}
	if len(e.Recipients) > 0 {
		_, err := crypt.ParseRecipients(e.Recipients)
		k.expect(err == nil, "recipients", e.Recipients, reason(err), recipientHint)
	}
	if !e.Enabled() {
		return
	}
	k.expect(!c.Index.Enabled, "recipients", e.Recipients, "flow tables would say in plaintext who talks to whom",
		"take enabled out of [index], or recipients out of [encrypt]", "recipients_file")
	k.expect(c.Finished.Compress == CompressNone, "recipients", e.Recipients, "encrypted files can't be compressed: they are as good as random",
		`take compress out of [finished], or recipients out of [encrypt]`, "recipients_file")
	all := []*Recording{&c.Recording}
	for i := range c.Interfaces {
		all = append(all, &c.Interfaces[i].Recording)
	}
	for _, r := range all {
		if r.ChunkSize%crypt.PieceSize != 0 {
			k.expect(false, "recipients", e.Recipients, fmt.Sprintf("chunk_size %s must be a multiple of 64KiB, as age encrypts these together", r.ChunkSize),
				nearestMultiple(r.ChunkSize, crypt.PieceSize, minChunk), "recipients_file")
			break
		}
	}
}

const recipientHint = `a public key: "age1...", "age1pq1...", "ssh-ed25519 ..." or "ssh-rsa ..."`

func reason(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// ReadRecipients reads the file of recipients, and sets the Recipients of all interfaces. It must be called when all interfaces are
// known, and before Validate.
func (c *Config) ReadRecipients() error {
	e := &c.Encrypt
	if !e.Enabled() {
		return nil
	}
	all := slices.Clone(e.Recipients)
	if e.RecipientsFile != "" {
		lines, err := readLines(e.RecipientsFile)
		if err != nil {
			return &recipientsError{e.RecipientsFile, err}
		}
		all = append(all, lines...)
	}
	if _, err := crypt.ParseRecipients(all); err != nil {
		return &recipientsError{e.RecipientsFile, err}
	}
	for i := range c.Interfaces {
		c.Interfaces[i].Recipients = all
	}
	return nil
}

// encrypts reports whether all interfaces have the recipients that were asked for.
func (c *Config) encrypts() bool {
	return !c.Encrypt.Enabled() || !slices.ContainsFunc(c.Interfaces, func(i Interface) bool { return len(i.Recipients) == 0 })
}

func readLines(path string) ([]string, error) {
	h, err := os.Open(path)
	if err != nil {
		var p *fs.PathError
		if errors.As(err, &p) {
			err = p.Err
		}
		return nil, err
	}
	defer h.Close()
	text, err := io.ReadAll(io.LimitReader(h, MaxFile+1))
	if err == nil && len(text) > MaxFile {
		err = fmt.Errorf("is over %d bytes, too large for a list of keys", MaxFile)
	}
	return crypt.RecipientLines(string(text)), err
}

// A recipientsError says why files can't be encrypted for the recipients.
type recipientsError struct {
	file string // empty: there is none
	err  error
}

func (e *recipientsError) Error() string {
	if e.file == "" {
		return fmt.Sprintf("encrypt.recipients: %v", e.err)
	}
	return fmt.Sprintf("encrypt.recipients_file %s: %v", e.file, e.err)
}

func (e *recipientsError) Unwrap() error { return e.err }

// Hints says what to do about it.
func (e *recipientsError) Hints() []string {
	switch {
	case errors.Is(e.err, fs.ErrPermission):
		return []string{fmt.Sprintf("this is user %d: the file must be readable for it; a running capd in its sandbox can read only directories that its configuration named at the start", os.Geteuid())}
	case errors.Is(e.err, fs.ErrNotExist):
		return []string{"it has public keys, one a line, as age -R takes it"}
	}
	return []string{recipientHint}
}
