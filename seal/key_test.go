package seal

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// TestEvolveCutOff: wherever a crash cuts the change of the files off, the next start has one key and no other is left.
func TestEvolveCutOff(t *testing.T) {
	for _, at := range []string{"old renamed", "new renamed", "overwritten"} {
		keys, dir := t.TempDir(), t.TempDir()
		if _, _, err := Init(keys, dir, "host"); err != nil {
			t.Fatal(err)
		}
		k, err := Open(keys, dir)
		if err != nil {
			t.Fatal(err)
		}
		next, err := k.Prepare()
		if err != nil {
			t.Fatal(err)
		}
		c := sample()
		c.Next = next
		signed, err := k.Sign(c)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(k.base+keyEnding, k.base+oldEnding); err != nil {
			t.Fatal(err)
		}
		if at != "old renamed" {
			if err := os.Rename(k.base+nextEnding, k.base+keyEnding); err != nil {
				t.Fatal(err)
			}
		}
		if at == "overwritten" {
			if err := os.WriteFile(k.base+oldEnding, make([]byte, 100), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if k, err = Open(keys, dir); err != nil {
			t.Fatal(at, err)
		}
		if err := k.Recover(signed, dir, 0o640); err != nil {
			t.Fatal(at, err)
		}
		if n, _ := k.Epoch(); n != 1 || k.Verifier() != next {
			t.Errorf("%s: epoch %d", at, n)
		}
		if _, err := k.Sign(c); err != nil {
			t.Error(err)
		}
		for _, ending := range []string{oldEnding, nextEnding} {
			if _, err := os.Lstat(k.base + ending); err == nil {
				t.Errorf("%s: %s is left", at, ending)
			}
		}
		if again, err := Open(keys, dir); err != nil || again.Verifier() != next {
			t.Errorf("%s: %v", at, err)
		}
	}
}

// TestSecretsCleared: when the next epoch has begun, neither the seed nor its spelling of the old one is in what the Key keeps.
func TestSecretsCleared(t *testing.T) {
	keys, dir := t.TempDir(), t.TempDir()
	if _, _, err := Init(keys, dir, "host"); err != nil {
		t.Fatal(err)
	}
	k, err := Open(keys, dir)
	if err != nil {
		t.Fatal(err)
	}
	old := k.signer.private
	if k.state.Seed != nil || len(bytes.Trim(old, "\x00")) == 0 {
		t.Error("the seed is kept, or the key is none")
	}
	c := sample()
	if c.Next, err = k.Prepare(); err != nil {
		t.Fatal(err)
	}
	signed, err := k.Sign(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Evolve(signed, dir, 0o640); err != nil {
		t.Fatal(err)
	}
	if len(bytes.Trim(old, "\x00")) > 0 {
		t.Error("the old key was not cleared")
	}
}

// TestStateSpelled: the file of a key is JSON with the seed, and what is not that of its verification key is refused.
func TestStateSpelled(t *testing.T) {
	s, err := newState("/d", "name", 3)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "key")
	if err := s.write(path); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	var got map[string]any
	if err != nil || json.Unmarshal(b, &got) != nil || got["seed"] != base64.StdEncoding.EncodeToString(s.Seed) || got["epoch"] != 3.0 {
		t.Errorf("%v: %s", err, b)
	}
	h, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	read, err := readState(h)
	if err != nil || !bytes.Equal(read.Seed, s.Seed) || read.Verifier != s.Verifier {
		t.Errorf("%+v %v", read, err)
	}
	read.Seed[0]++
	if _, err := read.signer(); err == nil || read.Seed != nil {
		t.Error("a seed of another key was taken, or is kept")
	}
}
