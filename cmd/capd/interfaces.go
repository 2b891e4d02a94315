package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"capd/internal/hint"
	"capd/internal/setup"
	"capd/internal/text"

	"github.com/spf13/cobra"
)

func newInterfaces() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "interfaces",
		Short: "List the interfaces that can be recorded",
		Long: `List the interfaces with their state, link types and addresses. The default link
type comes first; link_type in the configuration and run -y choose another. The
interfaces that can't be opened are at the end, with the cause.

Linux may have alternative names of an interface (ip-link(8), altname). They are at
the end of its line; each may be used wherever an interface is named.

--json prints an array with an object for each interface: name, alt_names, index,
state, link_type, link_types, mtu, address (of the hardware) and ips, or error if
it can't be opened.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := setup.List()
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), all)
			}
			return printInterfaces(cmd.OutOrStdout(), all)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array")
	return cmd
}

func printInterfaces(out io.Writer, all []setup.Interface) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	head, also := "NAME\tSTATE\tLINK TYPES\tMTU\tADDRESS\tIP", slices.ContainsFunc(all, func(i setup.Interface) bool { return len(i.AltNames) > 0 })
	if also {
		head += "\tALTERNATIVE NAMES"
	}
	fmt.Fprintln(w, head)
	for _, i := range all {
		ips := make([]string, len(i.IPs))
		for n, ip := range i.IPs {
			ips[n] = ip.String()
		}
		mtu, types := "-", i.LinkType
		if i.MTU > 0 {
			mtu = fmt.Sprint(i.MTU)
		}
		if len(i.LinkTypes) > 0 {
			types = strings.Join(i.LinkTypes, ",")
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s", text.Name(i.Name), i.State, types, mtu, dash(i.Address), dash(strings.Join(ips, " ")))
		if also {
			fmt.Fprintf(w, "\t%s", dash(nameList(i.AltNames)))
		}
		fmt.Fprintln(w)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return printClosed(out, all)
}

// printClosed names the interfaces that can't be opened, once for each cause:
// without privilege it is the same for all.
func printClosed(out io.Writer, all []setup.Interface) error {
	var printed []string
	for _, one := range all {
		if one.Err == nil || slices.Contains(printed, one.Error) {
			continue
		}
		var names []string
		for _, i := range all {
			if i.Error == one.Error {
				names = append(names, text.Name(i.Name))
			}
		}
		printed = append(printed, one.Error)
		fmt.Fprintf(out, "\n%s can't be opened: %s\n", strings.Join(names, ", "), one.Error)
		for _, h := range hint.Of(one.Err) {
			if _, err := fmt.Fprintf(out, "      hint: %s\n", h); err != nil {
				return err
			}
		}
	}
	return nil
}

// nameList spells names, with spaces between them.
func nameList(names []string) string {
	spelt := make([]string, len(names))
	for i, name := range names {
		spelt[i] = text.Name(name)
	}
	return strings.Join(spelt, " ")
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
