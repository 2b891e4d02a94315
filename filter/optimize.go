package filter

import "slices"

// rounds limits how often the graph is walked to shorten it. Typical expressions need two or three
// walks.
const rounds = 50

// optimize returns a shorter graph with the same result for every packet, including packets that
// are cut off in a header.
func (g *graph) optimize(root *block) *block {
	root = g.settle(root)
	return g.dropCells(g.settle(g.group(root)))
}

// settle shortens the graph until nothing changes any more.
func (g *graph) settle(root *block) *block {
	for range rounds {
		before := root
		root = newThreader(g, g.foldCells(root)).thread()
		if root == before {
			break
		}
	}
	return root
}

// order returns the reachable blocks, each before its successors, and numbers them.
func (g *graph) order(root *block) []*block {
	g.walks++
	var blocks []*block
	var visit func(*block)
	visit = func(b *block) {
		if b == nil || b.walk == g.walks {
			return
		}
		b.walk = g.walks
		visit(b.jf)
		visit(b.jt)
		blocks = append(blocks, b)
	}
	visit(root)
	slices.Reverse(blocks)
	for i, b := range blocks {
		b.n = i
	}
	return blocks
}

// rebuild creates every block again, the last one first. change may modify a block's copy before it
// is created; its jt and jf are new blocks already.
func (g *graph) rebuild(blocks []*block, change func(n int, b *block)) *block {
	made := make([]*block, len(blocks))
	for i, old := range slices.Backward(blocks) {
		b := *old
		if b.jt != nil {
			b.jt = made[b.jt.n]
		}
		if b.jf != nil {
			b.jf = made[b.jf.n]
		}
		if change != nil {
			change(i, &b)
		}
		switch {
		case b.op == blockTest:
			made[i] = g.branch(b.test, b.sets, b.jt, b.jf)
		case b.op == blockGoto && b.sets == [4]set{}:
			made[i] = b.jt
		default:
			made[i] = g.one(b)
		}
	}
	return made[0]
}

// foldCells replaces cells by constants where they have the same constant content on every way to
// the block.
func (g *graph) foldCells(root *block) *block {
	if g.cells == 0 {
		return root
	}
	type content [maxCells]*value // nil: not one constant
	blocks := g.order(root)
	in := make([]content, len(blocks))
	seen := make([]bool, len(blocks))
	for i := range g.cells {
		if g.tunnels[i] == 0 {
			in[0][i] = g.values.constant(0)
		}
	}
	flow := func(to *block, c content) {
		if to == nil {
			return
		}
		if !seen[to.n] {
			in[to.n], seen[to.n] = c, true
			return
		}
		for i := range c {
			if in[to.n][i] != c[i] {
				in[to.n][i] = nil
			}
		}
	}
	changed := make([]block, len(blocks))
	for i, b := range blocks {
		c, nb := in[i], *b
		for j, s := range b.sets {
			if s.v != nil {
				nb.sets[j].v = g.values.fold(s.v, c[:])
				c[s.cell] = nil
				if nb.sets[j].v.op == opConst {
					c[s.cell] = nb.sets[j].v
				}
			}
		}
		if b.op == blockTest {
			nb.test.l, nb.test.r = g.values.fold(b.test.l, c[:]), g.values.fold(b.test.r, c[:])
		}
		changed[i] = nb
		flow(b.jt, c)
		flow(b.jf, c)
	}
	return g.rebuild(blocks, func(n int, b *block) {
		b.test, b.sets = changed[n].test, changed[n].sets
	})
}

// fold returns v with all cells of known content replaced by their content.
func (vs values) fold(v *value, content []*value) *value {
	if !v.cells {
		return v
	}
	switch v.op {
	case opCell:
		if c := content[v.k]; c != nil {
			return c
		}
		return v
	case opLoad:
		return vs.load(vs.fold(v.a, content), v.k, v.size)
	case opNeg:
		return vs.neg(vs.fold(v.a, content))
	}
	return vs.alu(v.size, vs.fold(v.a, content), vs.fold(v.b, content))
}

// dropCells removes stores to cells that are not read afterwards.
func (g *graph) dropCells(root *block) *block {
	if g.cells == 0 {
		return root
	}
	blocks := g.order(root)
	var read [maxCells]bool
	for _, b := range blocks {
		for _, v := range b.values() {
			markCells(v, &read)
		}
	}
	return g.rebuild(blocks, func(_ int, b *block) {
		for i, s := range b.sets {
			if s.v != nil && !read[s.cell] && !s.v.fails {
				b.sets[i] = set{}
			}
		}
	})
}

// values returns the values that the block computes.
func (b *block) values() []*value {
	vs := make([]*value, 0, 6)
	for _, v := range [...]*value{b.test.l, b.test.r, b.sets[0].v, b.sets[1].v, b.sets[2].v, b.sets[3].v} {
		if v != nil {
			vs = append(vs, v)
		}
	}
	return vs
}

// readEarly returns which cells may be read before they are set.
func readEarly(blocks []*block) (early [maxCells]bool) {
	unset := make([][maxCells]bool, len(blocks)) // unset[n]: cells not set on some way to block n
	for i := range unset[0] {
		unset[0][i] = true
	}
	for i, b := range blocks {
		read := func(v *value) {
			var marks [maxCells]bool
			markCells(v, &marks)
			for c, m := range marks {
				early[c] = early[c] || m && unset[i][c]
			}
		}
		for _, s := range b.sets {
			if s.v != nil {
				read(s.v)
				unset[i][s.cell] = false
			}
		}
		read(b.test.l)
		read(b.test.r)
		for _, to := range []*block{b.jt, b.jf} {
			if to == nil {
				continue
			}
			for c, u := range unset[i] {
				unset[to.n][c] = unset[to.n][c] || u
			}
		}
	}
	return early
}

// markCells marks the cells that the value reads.
func markCells(v *value, read *[maxCells]bool) {
	if v == nil || !v.cells {
		return
	}
	if v.op == opCell {
		read[v.k] = true
	}
	markCells(v.a, read)
	markCells(v.b, read)
}

// verdicts reports whether every packet that is long enough is rejected, and whether every such
// packet is accepted.
func (g *graph) verdicts(root *block) (never, always bool) {
	blocks := g.order(root)
	return !slices.Contains(blocks, g.accept()), !slices.Contains(blocks, g.reject())
}
