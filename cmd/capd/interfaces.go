package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"text/tabwriter"

	"capd/capture"
	"capd/pcap"

	"github.com/spf13/cobra"
)

// interfaceJSON is one element of the array that interfaces --json prints.
type interfaceJSON struct {
	Name     string         `json:"name"`
	Index    int            `json:"index"` // 0: all interfaces together
	State    string         `json:"state"` // up, down or no carrier
	LinkType string         `json:"link_type"`
	MTU      int            `json:"mtu,omitempty"`     // bytes
	Address  string         `json:"address,omitempty"` // of the hardware
	IPs      []netip.Prefix `json:"ips,omitempty"`
}

func newInterfaces() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "interfaces [--json]",
		Short: "List what can be recorded",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := listInterfaces()
			if err != nil {
				return err
			}
			if asJSON {
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", "  ")
				return enc.Encode(all)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "NAME\tSTATE\tLINK TYPE\tMTU\tADDRESS\tIP")
			for _, i := range all {
				ips := make([]string, len(i.IPs))
				for n, ip := range i.IPs {
					ips[n] = ip.String()
				}
				mtu := "-"
				if i.MTU > 0 {
					mtu = fmt.Sprint(i.MTU)
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", quoted(i.Name), i.State, i.LinkType, mtu, dash(i.Address), dash(strings.Join(ips, " ")))
			}
			return w.Flush()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array")
	return cmd
}

func listInterfaces() ([]interfaceJSON, error) {
	all, err := capture.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	list := make([]interfaceJSON, 0, len(all)+1)
	for _, i := range all {
		list = append(list, interfaceJSON{
			Name: i.Name, Index: i.Index, State: linkState(i), LinkType: i.LinkType.String(), MTU: i.MTU,
			Address: i.Address.String(), IPs: i.IPs,
		})
	}
	return append(list, interfaceJSON{Name: capture.Any, State: "up", LinkType: pcap.LinkTypeLinuxSLL2.String()}), nil
}

func linkState(i capture.Interface) string {
	switch {
	case !i.Up:
		return "down"
	case !i.Running:
		return "no carrier"
	}
	return "up"
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
