package filter

// group reorders chains of tests, all of which lead to the same block if they succeed, or all if they
// fail, such that tests of the same value follow each other. Of
//
//	src = a or dst = a or src = b or dst = b or src = c
//
// it makes src = a or dst = a or dst = b or src = b or src = c, which loads
// less often. Only tests that can't fail because of missing bytes are moved.
func (g *graph) group(root *block) *block {
	blocks := g.order(root)
	ways := make([]int, len(blocks)) // number of edges that lead to the block
	for _, b := range blocks {
		for _, to := range []*block{b.jt, b.jf} {
			if to != nil {
				ways[to.n]++
			}
		}
	}
	t := newThreader(g, root)
	t.dominate()
	test := make([]test, len(blocks))
	for i, b := range blocks {
		test[i] = b.test
	}
	taken := make([]bool, len(blocks))
	for _, b := range blocks {
		for _, c := range []chain{{b, true}, {b, false}} {
			links := c.links(ways, taken)
			if len(links) < 3 {
				continue
			}
			for _, l := range links { // the rest of a chain is not a chain by itself
				taken[l.n] = true
			}
			i := t.movable(links)
			for j, q := range grouped(links, i) {
				test[links[i+j].n] = q
			}
		}
	}
	return g.rebuild(blocks, func(n int, b *block) { b.test = test[n] })
}

// A chain is a sequence of tests, starting at a block, that are made one after the other until one
// succeeds or, if all is set, until one fails.
type chain struct {
	first *block
	all   bool
}

// ends returns where the block leads if its test ends the chain, and where if not.
func (c chain) ends(b *block) (out, on *block) {
	if c.all {
		return b.jf, b.jt
	}
	return b.jt, b.jf
}

// links returns the blocks of the chain that are not taken yet. All except the first have no other
// way to them.
func (c chain) links(ways []int, taken []bool) []*block {
	if c.first.op != blockTest || taken[c.first.n] {
		return nil
	}
	links := []*block{c.first}
	out, next := c.ends(c.first)
	for !taken[next.n] && next.op == blockTest && next.sets == [4]set{} && ways[next.n] == 1 && next.test.r.op == opConst {
		o, on := c.ends(next)
		if o != out {
			break
		}
		links = append(links, next)
		next = on
	}
	return links
}

// movable returns the index of the first block from which on no test needs more bytes than the
// tests before have already accessed.
func (t *threader) movable(links []*block) int {
	last := 0
	seen := map[*value]bool{}
	least := t.least[links[0].n]
	for i, b := range links {
		if !seen[b.test.l] && !t.there(b.test.l, least) {
			last = i
		}
		seen[b.test.l] = true
		least = max(least, need(b))
	}
	return last + 1
}

// grouped returns the tests of the blocks from index i on. Those that test the same value as the
// test before i come first.
func grouped(links []*block, i int) []test {
	var tests []test
	done := map[*value]bool{}
	take := func(l *value) {
		if done[l] {
			return
		}
		done[l] = true
		for _, b := range links[i:] {
			if b.test.l == l {
				tests = append(tests, b.test)
			}
		}
	}
	take(links[i-1].test.l)
	for j := range links[i:] {
		take(links[i+j].test.l)
	}
	return tests
}
