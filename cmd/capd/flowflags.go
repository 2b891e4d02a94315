package main

import (
	"strings"

	"capd/internal/extract"
)

// A flowList is the flows that --community-id and --flow name.
type flowList struct{ all extract.Flows }

// ids is the value of --community-id, and ends that of --flow.
func (l *flowList) ids() *flowValue  { return &flowValue{l, extract.ParseCommunityID, "id"} }
func (l *flowList) ends() *flowValue { return &flowValue{l, extract.ParseFlow, "flow"} }

// A flowValue is a flag that adds to a list.
type flowValue struct {
	to    *flowList
	parse func(string) (extract.Flow, error)
	kind  string
}

// Set adds a flow.
func (v *flowValue) Set(s string) error {
	f, err := v.parse(s)
	if err == nil {
		v.to.all = append(v.to.all, f)
	}
	return err
}

// String spells the flows of this flag.
func (v *flowValue) String() string {
	var all []string
	for i := range v.to.all {
		if f := &v.to.all[i]; f.IsID() == (v.kind == "id") {
			all = append(all, f.String())
		}
	}
	return strings.Join(all, ", ")
}

// Type names the type in the usage of flags.
func (v *flowValue) Type() string { return v.kind }
