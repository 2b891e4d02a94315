package bpf

import (
	"go/ast"
	gobuild "go/build"
	"go/constant"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"testing"
)

// goldens returns the integer constants of golang.org/x/sys/unix for another system, from its
// source.
func goldens(t *testing.T, system, arch string) map[string]uint64 {
	t.Helper()
	if _, err := os.Stat("../../go.mod"); err != nil {
		t.Skip("the test program runs away from the source")
	}
	pkg, err := gobuild.Import("golang.org/x/sys/unix", ".", gobuild.FindOnly)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]uint64{}
	for _, kind := range []string{"zerrors", "ztypes"} {
		name := filepath.Join(pkg.Dir, kind+"_"+system+"_"+arch+".go")
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			if g, ok := decl.(*ast.GenDecl); ok && g.Tok == token.CONST {
				constants(g, all)
			}
		}
	}
	return all
}

func constants(g *ast.GenDecl, into map[string]uint64) {
	for _, spec := range g.Specs {
		v := spec.(*ast.ValueSpec)
		for i, value := range v.Values {
			if lit, ok := value.(*ast.BasicLit); ok && lit.Kind == token.INT {
				n, _ := constant.Uint64Val(constant.MakeFromLiteral(lit.Value, token.INT, 0))
				into[v.Names[i].Name] = n
			}
		}
	}
}

// TestNumbers: the numbers of every system equal those of golang.org/x/sys.
func TestNumbers(t *testing.T) {
	for _, a := range []abi{darwin(), freebsd(), netbsd(), openbsd()} {
		want := map[string]uint64{
			"BIOCGBLEN": biocGetLen, "BIOCSBLEN": biocSetLen, "BIOCSETF": biocSetFilter, "BIOCPROMISC": biocPromisc,
			"BIOCGDLT": biocGetDLT, "BIOCIMMEDIATE": biocImmediate, "BIOCVERSION": biocVersion,
			"BIOCSETIF": uint64(a.setIf), "BIOCSRTIMEOUT": uint64(a.timeout), "BIOCGSTATS": uint64(a.stats),
			"BIOCSDLT": uint64(a.setDLT), "BIOCGDLTLIST": uint64(a.dlts),
			"SizeofBpfProgram": sizeProgram, "SizeofBpfVersion": sizeVersion,
			"SizeofBpfStat": uint64(ioctlSize(a.stats)),
		}
		if a.newFilter != 0 && a.os != "openbsd" { // golang.org/x/sys has no name for OpenBSD's
			want["BIOCSETFNR"] = uint64(a.newFilter)
		}
		switch a.os {
		case "darwin":
			want["BIOCSSEESENT"] = uint64(a.seeSent)
			want["IFT_ETHER"], want["IFT_LOOP"] = interfaceEthernet, interfaceLoopback
			want["IFT_OTHER"], want["IFT_GIF"], want["IFT_STF"] = interfaceOther, interfaceGIF, interfaceSTF
		case "freebsd":
			want["BIOCLOCK"], want["BIOCSTSTAMP"] = uint64(a.lock), uint64(a.stamp)
			want["BIOCSDIRECTION"], want["BPF_T_NANOTIME"] = uint64(a.direction), freebsdNanotime
		case "netbsd":
			want["BIOCSSEESENT"] = uint64(a.direction)
			want["DLT_RAWAF_MASK"] = netbsdRaw
		case "openbsd":
			want["BIOCLOCK"], want["BIOCSDIRFILT"] = uint64(a.lock), uint64(a.direction)
			want["BPF_DIRECTION_IN"], want["BPF_DIRECTION_OUT"] = uint64(a.out), uint64(a.in)
		}
		for _, arch := range []string{"amd64", "arm64"} {
			have := goldens(t, a.os, arch)
			for name, n := range want {
				if got, ok := have[name]; !ok || got != n {
					t.Errorf("%s/%s: %s is %#x, ours %#x", a.os, arch, name, got, n)
				}
			}
		}
	}
}

// TestLinkTypesByName: DLTs that differ between the systems map to the same link types.
func TestLinkTypesByName(t *testing.T) {
	want := map[string]uint16{
		"DLT_NULL": 0, "DLT_EN10MB": 1, "DLT_PPP": 9, "DLT_RAW": 101, "DLT_SLIP_BSDOS": 102, "DLT_PPP_BSDOS": 103,
		"DLT_ATM_RFC1483": 100, "DLT_LOOP": 108, "DLT_ENC": 109, "DLT_PFLOG": 117, "DLT_PFSYNC": 246,
		"DLT_IEEE802_11": 105, "DLT_IEEE802_11_RADIO": 127, "DLT_PPP_SERIAL": 50, "DLT_PPP_ETHER": 51,
		"DLT_C_HDLC": 104, "DLT_HDLC": 112, "DLT_PKTAP": 258,
	}
	for _, a := range []abi{darwin(), freebsd(), netbsd(), openbsd()} {
		have := goldens(t, a.os, "amd64")
		found := 0
		for name, link := range want {
			dlt, ok := have[name]
			if !ok {
				continue
			}
			found++
			if got, known := a.linkTypeOf(uint32(dlt)); uint16(got) != link || !known {
				t.Errorf("%s: %s = %d is link type %d (known %t), want %d", a.os, name, dlt, got, known, link)
			}
		}
		if found < 12 {
			t.Errorf("%s: only %d of the names", a.os, found)
		}
	}
}
