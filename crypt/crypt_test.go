package crypt

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"io"
	mathrand "math/rand/v2"
	"strings"
	"testing"

	"filippo.io/age"
	"golang.org/x/crypto/ssh"
)

// A pair is a public key and the private one as it is in a file.
type pair struct{ name, public, private string }

func x25519(t testing.TB) pair {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return pair{"X25519", id.Recipient().String(), id.String() + "\n"}
}

func hybrid(t testing.TB) pair {
	t.Helper()
	id, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	return pair{"hybrid", id.Recipient().String(), "# a comment\n" + id.String() + "\n"}
}

func ofSSH(t testing.TB, name string, private any, public any, passphrase string) pair {
	t.Helper()
	p, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	return pair{name, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(p))), string(pem.EncodeToMemory(block))}
}

func ed(t testing.TB, passphrase string) pair {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return ofSSH(t, "ssh-ed25519", private, public, passphrase)
}

func pairs(t testing.TB) []pair {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return []pair{x25519(t), hybrid(t), ed(t, ""), ofSSH(t, "ssh-rsa", key, &key.PublicKey, "")}
}

func (p pair) identities(t testing.TB) Identities {
	t.Helper()
	ids, _, err := parseIdentities([]byte(p.private))
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// encrypt makes a file, and returns how many bytes are before its payload.
func encrypt(t testing.TB, r *Recipients, plain []byte) (file []byte, begin int64) {
	t.Helper()
	file, key, err := r.Begin()
	if err != nil {
		t.Fatal(err)
	}
	begin = int64(len(file))
	s := NewSealer(key)
	for number := int64(0); ; number++ {
		piece := plain[:min(PieceSize, len(plain))]
		plain = plain[len(piece):]
		file = s.Seal(file, number, piece, len(plain) == 0)
		if len(plain) == 0 {
			return file, begin
		}
	}
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

var sizes = []int{0, 1, PieceSize - 1, PieceSize, PieceSize + 1, 3 * PieceSize, 3*PieceSize + 77}

// Package age reads what this one writes, and the other way round, for all kinds of keys.
func TestAgainstAge(t *testing.T) {
	for _, p := range pairs(t) {
		t.Run(p.name, func(t *testing.T) {
			r, err := ParseRecipients([]string{p.public})
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range sizes {
				plain := random(n)
				file, begin := encrypt(t, r, plain)
				if begin != r.Size() || int64(len(file)) != Size(begin, int64(n)) {
					t.Fatalf("a file of %d bytes has %d, begin %d; %d and %d were expected", n, len(file), begin, Size(begin, int64(n)), r.Size())
				}
				theirs, err := age.Decrypt(bytes.NewReader(file), p.identities(t)...)
				if err != nil {
					t.Fatal(err)
				}
				if got, err := io.ReadAll(theirs); err != nil || !bytes.Equal(got, plain) {
					t.Fatalf("age reads %d bytes of %d: %v", len(got), n, err)
				}
				var b bytes.Buffer
				w, err := age.Encrypt(&b, r.list...)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := w.Write(plain); err != nil {
					t.Fatal(err)
				}
				if err := w.Close(); err != nil {
					t.Fatal(err)
				}
				for _, file := range [][]byte{file, b.Bytes()} {
					reads(t, file, plain, p.identities(t))
				}
			}
		})
	}
}

// reads fails the test if the file is not read as the bytes, as a whole and from anywhere.
func reads(t *testing.T, file, plain []byte, keys Identities) {
	t.Helper()
	r, err := NewReader(bytes.NewReader(file), int64(len(file)), keys)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(io.NewSectionReader(r, 0, 1<<40))
	if err != nil || !bytes.Equal(got, plain) {
		t.Fatalf("read %d bytes of %d: %v", len(got), len(plain), err)
	}
	for range 20 {
		off := mathrand.IntN(len(plain) + 10)
		b := make([]byte, mathrand.IntN(2*PieceSize))
		n, err := r.ReadAt(b, int64(off))
		want := plain[min(off, len(plain)):min(off+len(b), len(plain))]
		if !bytes.Equal(b[:n], want) || n < len(b) && err != io.EOF || n == len(b) && err != nil && err != io.EOF {
			t.Fatalf("read %d bytes at %d of %d: %v", n, off, len(plain), err)
		}
	}
	if n, err := r.ReadAt(make([]byte, 1), 1<<40); n != 0 || err != io.EOF {
		t.Fatalf("far behind the end: %d bytes, %v", n, err)
	}
	s, err := NewStream(bytes.NewReader(file), keys)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(s); err != nil || !bytes.Equal(got, plain) {
		t.Fatalf("a stream gives %d bytes of %d: %v", len(got), len(plain), err)
	}
}

// Of a file that is cut anywhere, all whole pieces are read, and it is not taken for a whole one.
func TestCut(t *testing.T) {
	p := x25519(t)
	r, err := ParseRecipients([]string{p.public})
	if err != nil {
		t.Fatal(err)
	}
	plain := random(3*PieceSize + 1000)
	file, begin := encrypt(t, r, plain)
	cuts := []int64{begin, begin + 1, begin + tagSize, begin + sealedSize, begin + sealedSize + tagSize, begin + 2*sealedSize - 1, int64(len(file)) - 1}
	for range 50 {
		cuts = append(cuts, begin+mathrand.Int64N(int64(len(file))-begin))
	}
	for _, cut := range cuts {
		torn := file[:cut]
		want := plain[:(cut-begin)/sealedSize*PieceSize]
		got, err := NewReader(bytes.NewReader(torn), cut, p.identities(t))
		if err != nil {
			t.Fatal(err)
		}
		all, err := io.ReadAll(io.NewSectionReader(got, 0, 1<<40))
		if !errors.Is(err, ErrCut) || !bytes.Equal(all, want) {
			t.Fatalf("cut at %d of %d: %d bytes of %d: %v", cut, len(file), len(all), len(want), err)
		}
		if n, err := got.ReadAt(make([]byte, 1), 1<<40); n != 0 || !errors.Is(err, ErrCut) {
			t.Fatalf("cut at %d, far behind the end: %d bytes, %v", cut, n, err)
		}
		if end, last, err := got.Whole(0, 100); err != nil || last || end != int64(len(want)) {
			t.Fatalf("cut at %d: whole up to %d, the last piece: %v, %v", cut, end, last, err)
		}
		s, err := NewStream(bytes.NewReader(torn), p.identities(t))
		if err != nil {
			t.Fatal(err)
		}
		if all, err := io.ReadAll(s); err == nil || !bytes.Equal(all, want) {
			t.Fatalf("a stream cut at %d of %d: %d bytes of %d: %v", cut, len(file), len(all), len(want), err)
		}
	}
	for cut := range begin {
		if _, err := NewReader(bytes.NewReader(file[:cut]), cut, p.identities(t)); !errors.Is(err, ErrNoHeader) {
			t.Fatalf("a header that is cut at %d of %d: %v", cut, begin, err)
		}
		if _, err := BeginSize(bytes.NewReader(file[:cut]), cut); !errors.Is(err, ErrNoHeader) {
			t.Fatalf("the size of a header that is cut at %d of %d: %v", cut, begin, err)
		}
	}
	if n, err := BeginSize(bytes.NewReader(file), int64(len(file))); n != begin || err != nil {
		t.Fatalf("%d bytes before the payload, %v; %d were expected", n, err, begin)
	}
}

// A changed byte, bytes behind the end, and pieces that were exchanged are found out.
func TestChanged(t *testing.T) {
	p := x25519(t)
	r, err := ParseRecipients([]string{p.public})
	if err != nil {
		t.Fatal(err)
	}
	plain := random(3 * PieceSize)
	file, begin := encrypt(t, r, plain)
	changed := map[string][]byte{"behind the end": append(bytes.Clone(file), 0), "a piece behind the end": append(bytes.Clone(file), file[begin:begin+sealedSize]...)}
	flip := bytes.Clone(file)
	flip[begin+sealedSize+5] ^= 1
	changed["flip"] = flip
	swap := bytes.Clone(file)
	copy(swap[begin:], file[begin+sealedSize:begin+2*sealedSize])
	copy(swap[begin+sealedSize:], file[begin:begin+sealedSize])
	changed["swap"] = swap
	for name, file := range changed {
		got, err := NewReader(bytes.NewReader(file), int64(len(file)), p.identities(t))
		if err != nil {
			t.Fatal(err)
		}
		all, err := io.ReadAll(io.NewSectionReader(got, 0, 1<<40))
		if !errors.Is(err, ErrDamaged) || !bytes.HasPrefix(plain, all) {
			t.Errorf("%s: %d bytes, %v", name, len(all), err)
		}
	}
	for at := range begin {
		file := bytes.Clone(file)
		file[at] ^= 1
		got, err := NewReader(bytes.NewReader(file), int64(len(file)), p.identities(t))
		if err != nil {
			continue
		}
		if all, err := io.ReadAll(io.NewSectionReader(got, 0, 1<<40)); err == nil || len(all) > 0 { // a changed nonce
			t.Errorf("byte %d of the header changed: %d bytes, %v", at, len(all), err)
		}
	}
}

// A hole in a file, and what was not written at its end, are found without a key.
func TestWritten(t *testing.T) {
	r, err := ParseRecipients([]string{x25519(t).public})
	if err != nil {
		t.Fatal(err)
	}
	whole, begin := encrypt(t, r, random(4*PieceSize+1000))
	size := int64(len(whole))
	for _, one := range []struct{ from, to, known, want int64 }{
		{size, size, 0, size},
		{size, size, 2 * PieceSize, size},
		{size - 500, size, 0, size - 500}, // to a block's begin at least, see below
		{begin + sealedSize, begin + 2*sealedSize, 0, begin + sealedSize},
		{begin + sealedSize, begin + 2*sealedSize, 2*PieceSize + 5, size}, // it is known to be written
		{begin + sealedSize + 4096, begin + sealedSize + 2*4096, 0, begin + sealedSize},
		{begin + 3*sealedSize - 600, begin + 3*sealedSize, 0, begin + 2*sealedSize},
	} {
		file := bytes.Clone(whole)
		clear(file[one.from:one.to])
		got, err := Written(bytes.NewReader(file), begin, size, one.known)
		if one.want > size-1000-tagSize && one.want < size {
			one.want = begin + 4*sealedSize
		}
		if err != nil || got != one.want {
			t.Errorf("zeros from %d to %d of %d: written up to %d, %v; %d was expected", one.from, one.to, size, got, err, one.want)
		}
	}
	for _, cut := range []int64{begin, begin + 5, begin + tagSize, begin + sealedSize, begin + sealedSize + 3} {
		got, err := Written(bytes.NewReader(whole[:cut]), begin, cut, 0)
		if want := begin + (cut-begin)/sealedSize*sealedSize; err != nil || got != want {
			t.Errorf("cut at %d: written up to %d, %v; %d was expected", cut, got, err, want)
		}
	}
}

// The sizes are each other's inverses.
func TestSizes(t *testing.T) {
	for range 10_000 {
		begin, plain := mathrand.Int64N(5000), mathrand.Int64N(1<<mathrand.IntN(35))
		size := Size(begin, plain)
		if got := Plain(begin, size); got != plain {
			t.Fatalf("%d bytes take %d, in which there is room for %d", plain, size, got)
		}
		if limit := mathrand.Int64N(1 << 30); Plain(begin, limit) > 0 && (Size(begin, Plain(begin, limit)) > limit || Size(begin, Plain(begin, limit)+1) <= limit) {
			t.Fatalf("into %d bytes go %d, which take %d", limit, Plain(begin, limit), Size(begin, Plain(begin, limit)))
		}
	}
}

// Several recipients can each decrypt a file, and nobody else can.
func TestRecipients(t *testing.T) {
	a, b, other := x25519(t), ed(t, ""), x25519(t)
	r, err := ParseRecipients(RecipientLines("# both\n" + a.public + "\n\n" + b.public + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	plain := random(100)
	file, _ := encrypt(t, r, plain)
	for _, p := range []pair{a, b} {
		reads(t, file, plain, append(other.identities(t), p.identities(t)...))
	}
	if _, err := NewReader(bytes.NewReader(file), int64(len(file)), other.identities(t)); !errors.Is(err, ErrOtherKeys) {
		t.Errorf("with another key: %v", err)
	}
	if _, err := NewReader(bytes.NewReader(file), int64(len(file)), nil); !errors.Is(err, ErrNoIdentity) {
		t.Errorf("without a key: %v", err)
	}
	if _, err := NewStream(bytes.NewReader(file), other.identities(t)); !errors.Is(err, ErrOtherKeys) {
		t.Errorf("a stream with another key: %v", err)
	}
	for _, keys := range [][]string{nil, {"age1"}, {"ssh-dss AAAA"}, {strings.TrimSpace(other.private)}, {"eth0"}, {a.public, hybrid(t).public}} {
		if r, err := ParseRecipients(keys); err == nil {
			t.Errorf("%q are taken for recipients: %v", keys, r)
		} else if strings.Contains(err.Error(), strings.TrimSpace(other.private)) {
			t.Errorf("a private key is in an error: %v", err)
		}
	}
}

// What is no private key says why, and no error has one.
func TestIdentities(t *testing.T) {
	p := x25519(t)
	r, err := ParseRecipients([]string{p.public})
	if err != nil {
		t.Fatal(err)
	}
	encrypted, _ := encrypt(t, r, []byte(p.private))
	for _, one := range []struct{ text, want string }{
		{"", "no identities"},
		{string(encrypted), "encrypted itself"},
		{ed(t, "secret").private, "passphrase"},
		{p.public + "\n", "public key"},
		{ed(t, "").public + "\n", "public key"},
		{"-----BEGIN NOTHING-----\n", "not a private key"},
		{strings.ToLower(p.private), "unknown identity"},
	} {
		ids, _, err := parseIdentities([]byte(one.text))
		if err == nil || !strings.Contains(err.Error(), one.want) || len(ids) > 0 {
			t.Errorf("%.40q: %v; %q was expected", one.text, err, one.want)
		}
	}
	if _, err := ReadIdentities([]string{t.TempDir() + "/none"}); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("a file that is missing: %v", err)
	}
}

// Neither a reader nor what looks for a file's end is surprised by any bytes.
func FuzzReader(f *testing.F) {
	id, err := age.ParseX25519Identity("AGE-SECRET-KEY-184JMZMVQH3E6U0PSL869004Y3U2NYV7R30EU99CSEDNPH02YUVFSZW44VU")
	if err != nil {
		f.Fatal(err)
	}
	r, err := ParseRecipients([]string{id.Recipient().String()})
	if err != nil {
		f.Fatal(err)
	}
	plain := bytes.Repeat([]byte("capd"), PieceSize/3)
	whole, begin := encrypt(f, r, plain)
	f.Add(uint32(0), []byte{}, uint32(len(whole)))
	f.Add(uint32(5), []byte{1}, uint32(len(whole)))
	f.Add(uint32(begin), make([]byte, 600), uint32(len(whole)-7))
	f.Add(uint32(begin+sealedSize), make([]byte, 70_000), uint32(len(whole)+70_000))
	f.Fuzz(func(t *testing.T, at uint32, put []byte, cut uint32) {
		file := append(bytes.Clone(whole), make([]byte, 1000)...)
		at %= uint32(len(file))
		copy(file[at:], put)
		file = file[:min(int(cut), len(file))]
		src, size := bytes.NewReader(file), int64(len(file))
		if n, err := BeginSize(src, size); err == nil {
			end, err := Written(src, n, size, 0)
			if err != nil || end > max(size, n) || end < n {
				t.Fatalf("written up to %d of %d, %v", end, size, err)
			}
		}
		got, err := NewReader(src, size, Identities{id})
		if err != nil {
			return
		}
		all, err := io.ReadAll(io.NewSectionReader(got, 0, 1<<40))
		if !bytes.HasPrefix(plain, all) || err == nil && len(all) != len(plain) {
			t.Fatalf("%d bytes that were not written, %v", len(all), err)
		}
		if end, last, err := got.Whole(0, 10); err != nil || end != int64(len(all)) || last && len(all) != len(plain) {
			t.Fatalf("whole up to %d, the last piece: %v, %v; %d bytes were read", end, last, err, len(all))
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	_, key, err := mustRecipients(b).Begin()
	if err != nil {
		b.Fatal(err)
	}
	s, piece, to := NewSealer(key), random(PieceSize), make([]byte, 0, sealedSize)
	b.SetBytes(PieceSize)
	for number := int64(0); b.Loop(); number++ {
		s.Seal(to, number, piece, false)
	}
}

func BenchmarkBegin(b *testing.B) {
	r := mustRecipients(b)
	for b.Loop() {
		if _, _, err := r.Begin(); err != nil {
			b.Fatal(err)
		}
	}
}

func mustRecipients(b *testing.B) *Recipients {
	b.Helper()
	r, err := ParseRecipients([]string{x25519(b).public})
	if err != nil {
		b.Fatal(err)
	}
	return r
}
