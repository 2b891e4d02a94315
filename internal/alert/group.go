package alert

import (
	"cmp"
	"slices"
	"time"

	"capd/internal/extract"
)

// Defaults of a Window.
const (
	DefaultBefore = time.Minute      // with fragments, flow.start is the time of the last one
	DefaultBack   = 10 * time.Minute // Suricata gives up on an idle connection after as long, and writes its alerts then
	DefaultAfter  = time.Minute
)

// A Window says which time around an alert is looked at.
type Window struct {
	Before time.Duration // the begin of its flow, where that is known
	Back   time.Duration // before the alert, where it is not
	After  time.Duration // the alert, or the end of its flow if that is later
}

// Of returns the time in which packets of an alert's flow are looked for.
func (w Window) Of(a *Alert) (since, until time.Time) {
	last := a.Time
	if a.End.After(last) {
		last = a.End
	}
	switch {
	case a.Start.IsZero():
		since = a.Time.Add(-w.Back)
	case a.Time.Before(a.Start): // it has the time of another packet, and says nothing about when its own came
		since = a.Start.Add(-w.Before)
		if a.End.IsZero() {
			last = a.Start.Add(w.Back)
		}
	default:
		since = a.Start.Add(-w.Before)
	}
	return since, last.Add(w.After)
}

// A Group is alerts of one flow whose windows overlap. They have one answer.
type Group struct {
	Alerts       []*Alert  // the first one is the earliest
	Since, Until time.Time // of all of them
}

// first is the alert that names the group.
func (g *Group) first() *Alert { return g.Alerts[0] }

// flows returns what the packets of the group are found by.
func (g *Group) flows() (all extract.Flows) {
	var of []Ends
	add := func(e Ends) {
		if e.IsZero() || slices.Contains(of, e) {
			return
		}
		of = append(of, e)
		if f, err := extract.ParseFlow(e.String()); err == nil {
			if f = f.Whole(); e.HasICMP {
				f = f.Message(e.ICMPType, e.ICMPCode)
			}
			all = append(all, f)
		}
	}
	var ids []string
	for _, a := range g.Alerts {
		add(a.Ends)
		// An error of ICMP has the Community ID of the packet that it is about.
		if a.CommunityID == "" || !a.Ends.IsZero() && !a.Ends.HasICMP || slices.Contains(ids, a.CommunityID) {
			continue
		}
		ids = append(ids, a.CommunityID)
		if f, err := extract.ParseCommunityID(a.CommunityID); err == nil {
			all = append(all, f)
		}
	}
	return all
}

// A key tells flows apart: the ends of both directions are the same.
type key struct {
	ends  Ends
	id    string
	start int64
}

func (a *Alert) key() key {
	k := key{ends: a.Ends, start: a.Start.UnixNano()}
	e := &k.ends
	switch {
	case e.IsZero():
		k.id = a.CommunityID
	case e.HasICMP:
		k.id = a.CommunityID
	case e.Dst.Less(e.Src) || e.Dst == e.Src && e.DstPort < e.SrcPort:
		e.Src, e.Dst, e.SrcPort, e.DstPort, e.HasSrc, e.HasDst = e.Dst, e.Src, e.DstPort, e.SrcPort, e.HasDst, e.HasSrc
	}
	return k
}

// Groups puts alerts of one flow together whose windows overlap. The groups are in the order of their windows.
func Groups(all []*Alert, w Window) (groups []*Group) {
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(a, b *Alert) int {
		x, _ := w.Of(a)
		y, _ := w.Of(b)
		return cmp.Or(x.Compare(y), a.Time.Compare(b.Time))
	})
	open := make(map[key]*Group)
	for _, a := range all {
		since, until := w.Of(a)
		k := a.key()
		if g := open[k]; g != nil && !since.After(g.Until) {
			g.Alerts = append(g.Alerts, a)
			if until.After(g.Until) {
				g.Until = until
			}
			continue
		}
		g := &Group{Alerts: []*Alert{a}, Since: since, Until: until}
		open[k] = g
		groups = append(groups, g)
	}
	for _, g := range groups {
		slices.SortStableFunc(g.Alerts, func(a, b *Alert) int { return a.Time.Compare(b.Time) })
	}
	return groups
}

// A batch is groups that are answered in one reading, because their windows overlap.
type batch struct {
	groups       []*Group
	since, until time.Time
}

// batches parts groups, which are in the order of their windows, where no window of one reaches into that of the next.
func batches(groups []*Group) (all []*batch) {
	for _, g := range groups {
		last := len(all) - 1
		if last < 0 || g.Since.After(all[last].until) {
			all = append(all, &batch{[]*Group{g}, g.Since, g.Until})
			continue
		}
		b := all[last]
		b.groups = append(b.groups, g)
		if g.Until.After(b.until) {
			b.until = g.Until
		}
	}
	return all
}
