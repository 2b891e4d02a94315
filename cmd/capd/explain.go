package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"capd/internal/extract"
	"capd/internal/text"
)

// printPlan prints what would be read.
func (x *extractCommand) printPlan(w io.Writer, p *extract.Plan) error {
	if x.asJSON {
		return printJSON(w, planJSON{
			p.Question.Text, p.Condition(), append([]*extract.Source{}, p.Sources...), p.Skipped, p.Bytes(), p.Answer.Tables, p.Answer.OfBytes, p.Answer.Missing,
		})
	}
	if c := p.Condition(); c != "" {
		fmt.Fprintf(w, "flow tables are asked for: %s\n", text.Line(c))
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(p.Sources) > 0 {
		fmt.Fprintln(t, "EARLIEST\tLATEST\tSIZE\tREAD\tFILE\tWHY")
	}
	for _, s := range p.Sources {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s; %s\n", text.Time(s.Earliest), text.Time(s.Latest), text.Size(s.Size), text.Size(s.Reading.Bytes),
			text.Name(s.Path()), s.Why, text.Line(s.Reading.Index))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "%s of %s to be read, in %s; %s none of the time\n",
		text.Size(p.Bytes()), text.Size(p.Answer.OfBytes), text.Count(len(p.Sources), "file"), haveText(p.Skipped))
	if p.Answer.Tables > 0 {
		fmt.Fprintf(w, "%s of flow tables were read to say so\n", text.Size(p.Answer.Tables))
	}
	for i := range p.Answer.Missing {
		fmt.Fprintf(w, "missing: %s\n", p.Answer.Missing[i].String())
	}
	x.bounds.print(w)
	return nil
}

func haveText(files int) string {
	if files == 1 {
		return "1 file has"
	}
	return text.Count(files, "file") + " have"
}

// planJSON is the object that extract --explain --json prints.
type planJSON struct {
	Question  string            `json:"question"`
	Condition string            `json:"condition,omitempty"`
	Files     []*extract.Source `json:"files"`
	Skipped   int               `json:"skipped"`
	Read      int64             `json:"read"`
	Tables    int64             `json:"tables,omitempty"`
	OfBytes   int64             `json:"of_bytes"`
	Missing   []extract.Missing `json:"missing"`
}
