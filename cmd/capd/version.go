package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// release is the newest release of CHANGELOG.md.
const release = "0.1.0"

func newVersion() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Long: `Print the version of capd, the version of Go, and the system. 0.1.0 is a build of
that release, 0.1.0+COMMIT one of a later commit, and 0.1.0+devel one for which
Go knew no commit.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if asJSON {
				return printJSON(cmd.OutOrStdout(), versionJSON{version(), runtime.Version(), runtime.GOOS, runtime.GOARCH})
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), versionLine())
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object")
	return cmd
}

// addVersionFlag adds the flag that most programs have. It prints what the
// command prints. Cobra's own flag wants a template of text/template, which
// keeps the linker from leaving out unused methods: 3 MiB of the program.
func addVersionFlag(root *cobra.Command) {
	show := root.Flags().Bool("version", false, "print the version")
	run := root.RunE
	root.RunE = func(cmd *cobra.Command, args []string) error {
		if *show {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), versionLine())
			return err
		}
		return run(cmd, args)
	}
}

func versionLine() string {
	return fmt.Sprintf("capd %s %s %s/%s", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// versionJSON is what version --json prints.
type versionJSON struct {
	Version string `json:"version"`
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
}

// version is the version of this program.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	return versionOf(info)
}

// versionOf is the release for what was built from its tag. Else it is the
// newest release and, as metadata of semantic versions, the commit: a clone may
// have no tags, so that what Go makes of them is not used.
func versionOf(info *debug.BuildInfo) string {
	if info.Main.Version == "v"+release {
		return release
	}
	commit, modified := "devel", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			commit = s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			modified = ".modified"
		}
	}
	return release + "+" + commit + modified
}
