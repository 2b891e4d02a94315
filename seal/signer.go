package seal

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"io"
	"os"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// A signer is a key of an epoch as package note takes it. It keeps the secret in memory that it clears: a string would stay.
type signer struct {
	note.Verifier
	private ed25519.PrivateKey
}

// Sign signs.
func (s *signer) Sign(text []byte) ([]byte, error) { return ed25519.Sign(s.private, text), nil }

// A keyState is the content of a key's file, but for the secret.
type keyState struct {
	Directory string    `json:"directory"`
	Epoch     uint64    `json:"epoch"`
	Since     time.Time `json:"since"`
	Verifier  string    `json:"verifier"`
	Seed      []byte    `json:"seed,omitempty"` // secret
}

// newState makes a key of that name.
func newState(directory, name string, epoch uint64) (*keyState, error) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	defer clear(private)
	verifier, err := note.NewEd25519VerifierKey(name, public)
	if err != nil {
		return nil, err
	}
	return &keyState{Directory: directory, Epoch: epoch, Since: time.Now().UTC(), Verifier: verifier, Seed: bytes.Clone(private[:ed25519.SeedSize])}, nil
}

// write makes the key's file. encoding/json would keep the secret in its buffers.
func (s *keyState) write(path string) error {
	public := *s
	public.Seed = nil
	b, err := json.Marshal(&public)
	if err != nil {
		return err
	}
	spelled := make([]byte, 0, len(b)+100)
	spelled = append(spelled, b[:len(b)-1]...)
	spelled = append(spelled, `,"seed":"`...)
	spelled = base64.StdEncoding.AppendEncode(spelled, s.Seed)
	spelled = append(spelled, "\"}\n"...)
	defer clear(spelled)
	return writeNew(path, spelled)
}

// readState reads a key's file. Who calls it clears the seed.
func readState(h *os.File) (*keyState, error) {
	info, err := h.Stat()
	if err != nil {
		return nil, err
	}
	b := make([]byte, info.Size())
	defer clear(b)
	if _, err := io.ReadFull(h, b); err != nil {
		return nil, err
	}
	s := &keyState{}
	return s, json.Unmarshal(b, s)
}

// signer returns what signs with the key, and clears the seed.
func (s *keyState) signer() (*signer, error) {
	defer func() {
		clear(s.Seed)
		s.Seed = nil
	}()
	v, err := note.NewVerifier(s.Verifier)
	if err != nil {
		return nil, err
	}
	if len(s.Seed) != ed25519.SeedSize {
		return nil, errNoSeed
	}
	k := &signer{v, ed25519.NewKeyFromSeed(s.Seed)}
	if own, err := note.NewEd25519VerifierKey(v.Name(), k.private.Public().(ed25519.PublicKey)); err != nil || own != s.Verifier {
		clear(k.private)
		return nil, errNoSeed
	}
	return k, nil
}
