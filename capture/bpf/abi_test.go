package bpf

import "testing"

// TestNumbersLiteral lists all numbers, including those for which golang.org/x/sys has no name.
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
		{"openbsd BIOCSETFNR", openbsdNewFilt, 0x8010427f},
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
