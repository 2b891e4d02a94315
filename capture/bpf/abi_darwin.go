//go:build amd64 || arm64

package bpf

import (
	"unsafe"

	"capd/capture/device"

	"golang.org/x/sys/unix"
)

func native() abi { return darwin() }

// This compiles only if the numbers equal those of golang.org/x/sys: otherwise an index is not 0.
var (
	_ = [1]bool{}[biocGetLen^unix.BIOCGBLEN]
	_ = [1]bool{}[biocSetLen^unix.BIOCSBLEN]
	_ = [1]bool{}[biocSetFilter^unix.BIOCSETF]
	_ = [1]bool{}[biocPromisc^unix.BIOCPROMISC]
	_ = [1]bool{}[biocGetDLT^unix.BIOCGDLT]
	_ = [1]bool{}[biocImmediate^unix.BIOCIMMEDIATE]
	_ = [1]bool{}[biocVersion^unix.BIOCVERSION]
	_ = [1]bool{}[darwinSetIf^unix.BIOCSETIF]
	_ = [1]bool{}[darwinTimeout^unix.BIOCSRTIMEOUT]
	_ = [1]bool{}[darwinStats^unix.BIOCGSTATS]
	_ = [1]bool{}[darwinSetDLT^unix.BIOCSDLT]
	_ = [1]bool{}[darwinNewFilter^unix.BIOCSETFNR]
	_ = [1]bool{}[darwinDLTs^unix.BIOCGDLTLIST]
	_ = [1]bool{}[darwinSeeSent^unix.BIOCSSEESENT]
	_ = [1]bool{}[sizeProgram^unix.SizeofBpfProgram]
	_ = [1]bool{}[sizeVersion^unix.SizeofBpfVersion]
	_ = [1]bool{}[sizeStat^unix.SizeofBpfStat]
	_ = [1]bool{}[sizeTimeval^unsafe.Sizeof(unix.Timeval{})]
	_ = [1]bool{}[20^unix.SizeofBpfHdr]
	_ = [1]bool{}[(2*darwinWord)^unsafe.Offsetof(unix.BpfHdr{}.Caplen)]
	_ = [1]bool{}[(2*darwinWord+4)^unsafe.Offsetof(unix.BpfHdr{}.Datalen)]
	_ = [1]bool{}[(2*darwinWord+8)^unsafe.Offsetof(unix.BpfHdr{}.Hdrlen)]
	_ = [1]bool{}[8^unsafe.Offsetof(unix.BpfProgram{}.Insns)]
	_ = [1]bool{}[unsafe.Sizeof(device.Instruction{})^unix.SizeofBpfInsn]
	_ = [1]bool{}[(nameLen+1)^unix.IFNAMSIZ]
)
