package main

import (
	"runtime"

	"capd/capture"
	"capd/config"

	"github.com/spf13/cobra"
)

// complete tells shells what may stand behind the flags of all commands, and their arguments.
func complete(root *cobra.Command) {
	flags := map[string]cobra.CompletionFunc{
		"interface":  completeInterfaces,
		"exclude":    completeInterfaces,
		"read":       completeCaptures,
		"config":     ending("toml"),
		"directory":  directoriesOnly,
		"format":     cobra.FixedCompletions([]string{config.FormatPcap, config.FormatPcapMicro, config.FormatPcapng}, cobra.ShellCompDirectiveNoFileComp),
		"compress":   cobra.FixedCompletions([]string{config.CompressZstd, config.CompressGzip, config.CompressNone}, cobra.ShellCompDirectiveNoFileComp),
		"log-level":  cobra.FixedCompletions([]string{"debug", "info", "warn", "error"}, cobra.ShellCompDirectiveNoFileComp),
		"log-format": cobra.FixedCompletions([]string{config.LogAuto, config.LogText, config.LogJSON}, cobra.ShellCompDirectiveNoFileComp),
	}
	arguments := map[string]cobra.CompletionFunc{
		"rotate": completeInterfaces, "salvage": completeCaptures, "hold": completeCaptures, "release": completeCaptures,
		"flows": directoriesOnly, "index": completeCaptures, "list": directoriesOnly, "ledger": directoriesOnly, "extract": directoriesOnly, "web": directoriesOnly,
		"run": nothing, "check": nothing, "watch": nothing, "filter": nothing, // the arguments are an expression
	}
	for _, cmd := range root.Commands() {
		for name, f := range flags {
			if cmd.Flags().Lookup(name) != nil {
				_ = cmd.RegisterFlagCompletionFunc(name, f) // fails for flags that there are not
			}
		}
		cmd.ValidArgsFunction = arguments[cmd.Name()]
	}
}

func completeInterfaces(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	all, err := capture.Interfaces()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []cobra.Completion
	for _, i := range all {
		names = append(names, i.Names()...)
	}
	if runtime.GOOS == "linux" {
		names = append(names, config.Any)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func nothing(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveNoFileComp
}

func completeCaptures(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return []cobra.Completion{"pcap", "pcapng", "cap", "partial", "zst", "gz"}, cobra.ShellCompDirectiveFilterFileExt
}

func directoriesOnly(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveFilterDirs
}

func ending(ext string) cobra.CompletionFunc {
	return func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return []cobra.Completion{ext}, cobra.ShellCompDirectiveFilterFileExt
	}
}
