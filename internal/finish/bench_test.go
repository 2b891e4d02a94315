package finish

import (
	"os"
	"testing"

	"capd/pcap"
)

// BenchmarkCompress measures the compression of one file: write, sync, verify,
// replace.
func BenchmarkCompress(b *testing.B) {
	for _, kind := range compressions {
		b.Run(string(kind), func(b *testing.B) {
			dir := b.TempDir()
			f := capture(b, dir, 1, 50000, pcap.PCAPNG)
			original := content(b, f.Path)
			q, err := New(Options{Directory: opened(b, dir), Compression: kind})
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(f.Size)
			b.ReportAllocs()
			for b.Loop() {
				out, err := q.pack.run(f.Name.String())
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(out.Packed)/float64(out.Size), "ratio")
				b.StopTimer()
				if err := os.Rename(out.Path, f.Path); err != nil { // the target must not exist
					b.Fatal(err)
				}
				if err := os.WriteFile(f.Path, original, 0o600); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}

// BenchmarkNext asks for the pending steps of 100,000 files, as retention does
// for each plan.
func BenchmarkNext(b *testing.B) {
	q, err := New(Options{Directory: opened(b, b.TempDir()), Compression: Zstd, Hook: []string{"/bin/true"}})
	if err != nil {
		b.Fatal(err)
	}
	defer q.Close(b.Context())
	for i := range 100_000 {
		q.dir.Add(nameOf(i, pcap.PCAP), 1)
	}
	for b.Loop() {
		for f := range q.dir.All() {
			if q.Next(f, Hook) != Hook || q.Next(f) != Compress {
				b.Fatal(f.Name)
			}
		}
	}
}
