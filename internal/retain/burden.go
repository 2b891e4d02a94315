package retain

import "capd/store"

// A Warning is from which share of a limit on held files are worth a warning. The zero value is never.
type Warning struct {
	Bytes int64   // of held files
	Part  float64 // 0 to 1, of the limit bytes; where a directory has none, of the file system
}

// from returns how many bytes of held files are too many beside the limit; 0: none.
func (w *Warning) from(limit int64, total uint64) int64 {
	switch {
	case w.Part == 0:
		return w.Bytes
	case limit > 0:
		return int64(w.Part * float64(limit))
	}
	return int64(w.Part * float64(total))
}

// A Burden is what held files do to the limits of a directory. Files that are leased do not count: they are held for a while only.
type Burden struct {
	Bytes     int64  // of held files
	Warn      int64  // from so many on they are too many; 0: never
	Over      bool   // they are too many: those of the directory, or those of Interface by its own limit
	Interface string // empty: see Over
	Limit     Limit  // can't be met because of them, so that all else that it may delete is deleted; empty: there is none
}

// burden returns what held files do, given what the plan leaves.
func (p *planner) burden(policy *Policy) Burden {
	w := &policy.HoldWarn
	b := Burden{Bytes: p.all.held, Warn: w.from(p.all.limits.Bytes, p.space.Total), Limit: p.all.unmet(&p.space)}
	b.Over = b.Warn > 0 && b.Bytes > b.Warn
	for name, s := range p.ifaces {
		from := int64(0)
		if w.Part > 0 && s.limits.Bytes > 0 {
			from = w.from(s.limits.Bytes, 0)
		}
		if over := from > 0 && s.held > from; over && (!b.Over || b.Interface != "" && name < b.Interface) {
			b.Over, b.Interface = true, name
		}
		if b.Limit == "" {
			b.Limit = s.unmet(&enough)
		}
	}
	return b
}

// unmet returns the limit that could be met if no file were held.
func (s *scope) unmet(space *store.Space) Limit {
	l := &s.limits
	switch {
	case s.held == 0:
	case l.Bytes > 0 && s.used > l.Bytes && s.used-s.held <= l.Bytes:
		return ByBytes
	case l.Count > 0 && s.files > l.Count && s.files-s.heldFiles <= l.Count:
		return ByCount
	case space.Free < l.free(space.Total) && space.Free+uint64(s.held) >= l.free(space.Total):
		return ByMinFree
	}
	return ""
}

// noteBurden says when held files become too many, or a limit can't be met because of them, and when that ends.
func (k *Keeper) noteBurden(b Burden) {
	before := k.burden
	k.burden = b
	log, dir := k.opt.Log, k.dir.Path()
	switch {
	case b.Over && !before.Over:
		more := []any{"directory", dir, "held_bytes", b.Bytes, "warn_bytes", b.Warn}
		if b.Interface != "" {
			more = append(more, "interface", b.Interface)
		}
		log.Warn("held files take much of what the limits leave: capd hold --list says for what", more...)
	case !b.Over && before.Over:
		log.Info("held files do not take much of what the limits leave any more", "directory", dir, "held_bytes", b.Bytes)
	}
	switch {
	case b.Limit != "" && before.Limit == "":
		log.Warn("a limit can't be met because of held files: it deletes all other files that it may, new ones as soon as they are finished",
			"directory", dir, "limit", string(b.Limit), "held_bytes", b.Bytes)
	case b.Limit == "" && before.Limit != "":
		log.Info("held files do not keep a limit from being met any more", "directory", dir, "limit", string(before.Limit))
	}
}
