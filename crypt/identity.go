package crypt

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"golang.org/x/crypto/ssh"
)

// Identities are private keys that decrypt files.
type Identities []age.Identity

// maxIdentity is the largest file of private keys.
const maxIdentity = 1 << 20

// An IdentityError says why a file of private keys can't be used.
type IdentityError struct {
	Path string
	Err  error
	hint string
}

// Error does not quote the file.
func (e *IdentityError) Error() string { return fmt.Sprintf("identity %s: %v", e.Path, e.Err) }
func (e *IdentityError) Unwrap() error { return e.Err }

// Hints says what to do about it.
func (e *IdentityError) Hints() []string {
	if e.hint == "" {
		return nil
	}
	return []string{e.hint}
}

// ReadIdentities reads files of private keys: those of age-keygen, and private keys of OpenSSH
// without a passphrase.
func ReadIdentities(paths []string) (Identities, error) {
	var all Identities
	for _, path := range paths {
		ids, hint, err := readIdentities(path)
		if err != nil {
			return nil, &IdentityError{path, err, hint}
		}
		all = append(all, ids...)
	}
	return all, nil
}

func readIdentities(path string) (ids Identities, hint string, err error) {
	h, err := os.Open(path)
	if err != nil {
		var p *os.PathError
		if errors.As(err, &p) {
			err = p.Err
		}
		return nil, "--identity names a file with a private key, as age-keygen makes it", err
	}
	defer h.Close()
	text, err := io.ReadAll(io.LimitReader(h, maxIdentity+1))
	switch {
	case err != nil:
		return nil, "", err
	case len(text) > maxIdentity:
		return nil, "", errors.New("too large for a file of keys")
	}
	return parseIdentities(text)
}

// parseIdentities returns no error that quotes a key.
func parseIdentities(text []byte) (ids Identities, hint string, err error) {
	switch {
	case HasMagic(text), bytes.HasPrefix(text, []byte("-----BEGIN AGE ENCRYPTED FILE-----")):
		return nil, "decrypt it first, as with age -d -o key.txt FILE", errors.New("it is encrypted itself")
	case bytes.HasPrefix(text, []byte("-----BEGIN")):
		id, err := agessh.ParseIdentity(text)
		if _, ok := errors.AsType[*ssh.PassphraseMissingError](err); ok {
			return nil, "make a copy without a passphrase: ssh-keygen -p -N '' -f COPY", errors.New("the private key has a passphrase")
		}
		if err != nil {
			return nil, "", errors.New("not a private key of ssh-ed25519 or ssh-rsa that can be read")
		}
		return Identities{id}, "", nil
	case bytes.HasPrefix(text, []byte("age1")), bytes.HasPrefix(text, []byte("ssh-")):
		return nil, "the private key decrypts; this one only encrypts", errors.New("it has a public key")
	}
	ids, err = age.ParseIdentities(bytes.NewReader(text))
	return ids, "", err
}
