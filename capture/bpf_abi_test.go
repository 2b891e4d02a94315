package capture

import (
	"go/ast"
	gobuild "go/build"
	"go/constant"
	"go/parser"
	"go/token"
	"path/filepath"
	"testing"
)

// goldens returns the integer constants of golang.org/x/sys/unix for another
// system, from its source.
func goldens(t *testing.T, os, arch string) map[string]uint64 {
	t.Helper()
	pkg, err := gobuild.Import("golang.org/x/sys/unix", ".", gobuild.FindOnly)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]uint64{}
	for _, kind := range []string{"zerrors", "ztypes"} {
		name := filepath.Join(pkg.Dir, kind+"_"+os+"_"+arch+".go")
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

// The numbers of every system are those that golang.org/x/sys has for it.
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
		switch a.os {
		case "darwin":
			want["BIOCSSEESENT"] = uint64(a.seeSent)
			want["IFT_ETHER"], want["IFT_LOOP"] = interfaceEthernet, interfaceLoopback
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

// Those that golang.org/x/sys has no name for, and all of the table at a
// glance.
func TestNumbersLiteral(t *testing.T) {
	for _, tt := range []struct {
		name      string
		got, want uint32
	}{
		{"darwin BIOCSDIRECTION", darwinDirection, 0x8004428b},
		{"netbsd BIOCLOCK", netbsdLock, 0x2000427e},
		{"darwin BIOCGDLTLIST", darwinDLTs, 0xc00c4279},
		{"freebsd BIOCGDLTLIST", freebsdDLTs, 0xc0104279},
		{"netbsd BIOCSETIF", netbsdSetIf, 0x8090426c},
		{"netbsd BIOCGSTATS", netbsdStats, 0x4080426f},
		{"netbsd BIOCSRTIMEOUT", netbsdTimeout, 0x8010427a},
		{"openbsd BIOCSDIRFILT", openbsdDirFilt, 0x8004427d},
		{"freebsd BIOCSTSTAMP", freebsdStamp, 0x80044284},
	} {
		if tt.got != tt.want {
			t.Errorf("%s is %#x, want %#x", tt.name, tt.got, tt.want)
		}
	}
	if ioctlSize(netbsdSetIf) != 144 || ioctlSize(darwinDLTs) != 12 || ioctlSize(netbsdStats) != 128 || ioctlSize(biocPromisc) != 0 {
		t.Error("sizes of arguments")
	}
}

func TestLayouts(t *testing.T) {
	for name, want := range map[string][3]int{ // offsets of caplen, datalen, hdrlen
		"darwin": {8, 12, 16}, "freebsd": {16, 20, 24}, "netbsd": {16, 20, 24}, "openbsd": {8, 12, 16},
	} {
		l := systems()[name].record
		if got := [3]int{l.caplen(), l.datalen(), l.hdrlen()}; got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

func TestLinkTypes(t *testing.T) {
	type links map[uint32]uint16
	common := links{0: 0, 1: 1, 6: 6, 8: 8, 9: 9, 10: 10, 11: 100, 50: 50, 51: 51, 101: 101, 105: 105, 117: 117, 127: 127, 192: 192, 228: 228}
	for _, tt := range []struct {
		abi
		own links
	}{
		{darwin(), links{12: 101, 15: 102, 16: 103, 18: 246, 108: 108, 109: 109, 149: 258}},
		{freebsd(), links{12: 101, 13: 102, 14: 103, 121: 246, 108: 108, 109: 109, 149: 149, 258: 258}},
		{netbsd(), links{12: 101, 13: 102, 14: 103, 16: 112, 18: 246, 0x2240002: 228, 0x2240018: 229}},
		{openbsd(), links{12: 108, 13: 109, 14: 101, 15: 102, 16: 103, 18: 246}},
	} {
		for _, m := range []links{common, tt.own} {
			for dlt, want := range m {
				got, known := tt.linkTypeOf(dlt)
				if uint16(got) != want || !known {
					t.Errorf("%s: DLT %d is link type %d (known %t), want %d", tt.os, dlt, got, known, want)
				}
			}
		}
		for _, dlt := range []uint32{20, 100, 102, 302, 65535, 1 << 20} {
			if _, known := tt.linkTypeOf(dlt); known {
				t.Errorf("%s: DLT %d is known", tt.os, dlt)
			}
		}
	}
}

// Every system's own numbers of the link types that differ lead to the same.
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
