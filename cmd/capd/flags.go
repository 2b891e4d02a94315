package main

import (
	"errors"
	"fmt"

	"capd/config"
	"capd/internal/hint"
	"capd/internal/text"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// foreign are flags of tcpdump and dumpcap that run has not, and capd's own way to the same.
var foreign = map[string]string{
	"A": "capd watch -A shows bytes as text; run shows no packets",
	"B": "the ring that the kernel fills is --ring-size SIZE, as --ring-size 64MiB",
	"C": "-C MEGABYTES is --rotate-size SIZE, as --rotate-size 100MB",
	"D": "capd interfaces lists what can be recorded",
	"F": "the filter is the rest of the command line: \"$(cat FILE)\"; in capd.toml it is filter",
	"G": "-G SECONDS is --rotate-interval TIME, as --rotate-interval 60s; files begin at its multiples, in UTC",
	"I": "monitor mode is set on the interface, as with iw",
	"K": "leave it out: run does not look at checksums",
	"L": "capd interfaces lists the link types, -y chooses one",
	"N": "leave it out: run shows no packets",
	"O": "capd filter -O shows a filter that is not optimized",
	"P": "-P is --format pcap",
	"Q": "direction in capd.toml says which frames: in, out or both",
	"S": "leave it out: run shows no packets, capd watch does",
	"U": "leave it out: frames are in the file after flush_interval of capd.toml, a second",
	"W": "-W FILES is --keep FILES, as --keep 10; names of files do not repeat",
	"X": "capd watch -x shows bytes; run shows no packets",
	"Z": "user in capd.toml is whom capd becomes, once it is started as root",
	"a": "-a duration:SECONDS is --duration TIME, as --duration 90s; --count N ends after N frames",
	"b": "-b filesize:KB is --rotate-size SIZE, -b duration:SECONDS or interval: is --rotate-interval TIME, -b files:N is --keep N",
	"e": "leave it out: run shows no packets; capd watch -e shows the header of the link layer",
	"f": "the filter is the rest of the command line, without a flag",
	"g": "file_mode in capd.toml is the mode of the files",
	"j": "which clock gives the time is the interface's matter; capd check says it",
	"k": "capd interfaces lists what can be recorded",
	"l": "leave it out: run shows no packets, capd watch does",
	"n": "leave it out: capd looks no names up",
	"p": "promiscuous = false in capd.toml leaves the interface as it is",
	"q": "--log-level warn logs less",
	"r": "capd watch -r FILE shows a file, and capd filter -r FILE -w FILE copies what passes a filter",
	"s": "-s BYTES is --snaplen BYTES",
	"t": "leave it out: run shows no packets, capd watch does",
	"v": "--log-level debug logs more",
	"w": "run names its files itself, after interface, time and number, so that none is overwritten: -d DIR says where. " +
		"capd watch -w FILE makes one of a name of yours",
	"z": "hook in [finished] of capd.toml runs a program for each finished file; --compress does without one",

	"buffer-size":           "it is --ring-size SIZE, as --ring-size 64MiB",
	"direction":             "direction in capd.toml says which frames: in, out or both",
	"immediate-mode":        "block_timeout in capd.toml is how long the kernel keeps frames, flush_interval how long capd does",
	"linktype":              "it is --link-type NAME, or -y NAME",
	"list-interfaces":       "capd interfaces lists what can be recorded",
	"no-promiscuous-mode":   "promiscuous = false in capd.toml leaves the interface as it is",
	"print":                 "capd watch shows packets, beside a recording too",
	"relinquish-privileges": "user in capd.toml is whom capd becomes, once it is started as root",
	"ring-buffer":           "the files that are kept are --keep N, the size of each --rotate-size SIZE",
	"snapshot-length":       "it is --snaplen BYTES",
	"time-stamp-precision":  "leave it out: times have nanoseconds",
	"time-stamp-type":       "which clock gives the time is the interface's matter; capd check says it",
	"autostop":              "it is --duration TIME or --count N",
	"temp-dir":              "it is -d DIR",
	"capture-comment":       "capd writes no comments of yours",
	"output":                "run names its files itself: -d DIR says where",
	"number":                "leave it out: run shows no packets",
	"dont-verify-checksums": "leave it out: run does not look at checksums",
	"list-data-link-types":  "capd interfaces lists the link types, -y chooses one",
	"list-time-stamp-types": "capd check says which clock gives the time",
	"monitor-mode":          "monitor mode is set on the interface, as with iw",
	"packet-buffered":       "leave it out: frames are in the file after flush_interval of capd.toml, a second",
	"packet-count":          "it is --count N",
	"filter":                "the filter is the rest of the command line, without a flag",
	"retain":                "it is --keep N, SIZE or AGE",
	"quiet":                 "--log-level warn logs less",
	"verbose":               "--log-level debug logs more",
	"promiscuous":           "promiscuous in capd.toml says that, and is true by default",
	"hook":                  "hook in [finished] of capd.toml runs a program for each finished file",
	"user":                  "user in capd.toml is whom capd becomes, once it is started as root",
}

// flagError puts the library's words about a flag into ours, and says what may be meant.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return usageError{plainly(err)}
	}
	name := unknown.GetSpecifiedName()
	dashed := "--" + name
	if unknown.GetSpecifiedShortnames() != "" {
		dashed = "-" + name
	}
	var lines []string
	if own, ok := foreign[name]; ok && (cmd.Name() == "run" || cmd.Name() == "check") && (len(name) == 1) == (dashed[1] != '-') {
		lines = append(lines, own)
	}
	if !cmd.HasParent() {
		lines = append(lines, "flags stand behind a command, as in capd run -i eth0")
	}
	message := "unknown flag " + text.Name(dashed)
	if near := config.Nearest(name, longFlags(cmd)); near != "" && len(name) > 1 && len(lines) == 0 {
		message += fmt.Sprintf("; did you mean --%s?", near)
	}
	return usageError{hint.New(message, lines...)}
}

func longFlags(cmd *cobra.Command) (names []string) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	return names
}
