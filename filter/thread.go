package filter

// A threader lets jumps skip tests whose outcome is known beforehand.
//
// An edge is one of the two ways out of a block. An edge is dominated by another if the program
// can't take it without having taken the other before. Therefore the outcomes of the tests on the
// dominating edges are known on the dominated edge.
type threader struct {
	g      *graph
	blocks []*block
	parent []int   // of an edge: the nearest edge that dominates it, or -1
	kids   [][]int // of an edge: the edges whose parent it is
	depth  []int
	in     []int // of a block: the nearest edge that dominates it, or -1
	least  []int // of a block: the least length in bytes of packets that reach it

	// Stacks of what is known on the way to the edge that is being visited. The last element
	// applies.
	outcomes [][]bool         // by the number of a test
	ranges   [][]valueRange   // by the number of the value on a test's left side
	ends     map[*value][]int // by base: how many bytes after it are known to exist
	testNo   []int            // of a block
	valueNo  []int

	to      []*block // of an edge: its present target
	reached []bool   // of a block: whether a visited edge leads to it
}

// An edge's number is twice that of its block, plus one if the test failed.
func (t *threader) edges(b *block) (int, int) { return 2 * b.n, 2*b.n + 1 }

func newThreader(g *graph, root *block) *threader {
	t := &threader{g: g, blocks: g.order(root)}
	t.ends = map[*value][]int{}
	n := len(t.blocks)
	t.parent, t.depth = make([]int, 2*n), make([]int, 2*n)
	t.kids, t.to = make([][]int, 2*n), make([]*block, 2*n)
	t.in, t.least, t.reached = make([]int, n), make([]int, n), make([]bool, n)
	t.reached[0] = true
	return t
}

// number assigns numbers to tests and to their left sides. Equal ones get the same number.
func (t *threader) number() {
	t.testNo, t.valueNo = make([]int, len(t.blocks)), make([]int, len(t.blocks))
	tests, values := map[test]int{}, map[*value]int{}
	for i, b := range t.blocks {
		no, ok := tests[b.test]
		if !ok {
			no = len(tests)
			tests[b.test] = no
		}
		t.testNo[i] = no
		if no, ok = values[b.test.l]; !ok {
			no = len(values)
			values[b.test.l] = no
		}
		t.valueNo[i] = no
	}
	t.outcomes, t.ranges = make([][]bool, len(tests)), make([][]valueRange, len(values))
}

// thread returns the root of the new graph.
func (t *threader) thread() *block {
	t.dominate()
	t.number()
	for i := range t.blocks {
		if t.in[i] == -1 {
			t.visit(2 * i)
			t.visit(2*i + 1)
		}
	}
	return t.remake(t.blocks[0], make([]*block, len(t.blocks)))
}

// dominate computes parent, in and least.
func (t *threader) dominate() {
	const unseen = -2
	for i := range t.in {
		t.in[i] = unseen
	}
	t.in[0] = -1
	flow := func(e, least int, to *block) {
		if to == nil {
			return
		}
		t.to[e] = to
		if to.op == blockAccept || to.op == blockReject {
			return
		}
		if t.in[to.n] == unseen {
			t.in[to.n], t.least[to.n] = e, least
			return
		}
		t.in[to.n] = t.common(t.in[to.n], e)
		t.least[to.n] = min(t.least[to.n], least)
	}
	for i, b := range t.blocks {
		least := max(t.least[i], need(b))
		yes, no := t.edges(b)
		for _, e := range []int{yes, no} {
			t.parent[e] = t.in[i]
			if p := t.in[i]; p >= 0 {
				t.depth[e] = t.depth[p] + 1
				t.kids[p] = append(t.kids[p], e)
			}
		}
		flow(yes, least, b.jt)
		flow(no, least, b.jf)
	}
}

// common returns the nearest edge that dominates both edges or is one of them, or -1.
func (t *threader) common(a, b int) int {
	for a != b {
		if a < 0 || b < 0 {
			return -1
		}
		if t.depth[a] >= t.depth[b] {
			a = t.parent[a]
		} else {
			b = t.parent[b]
		}
	}
	return a
}

// visit lets the edge skip what it can, and then visits the edges that it dominates. All edges to
// its block were visited before, because dominated edges are visited in the order of their blocks.
// Even if no edge leads to the block any more, the outcome of its test is known on the edges that
// it dominates: the edges that bypass the block do so because they know that outcome.
func (t *threader) visit(e int) {
	if t.to[e] == nil {
		return
	}
	b := t.blocks[e/2]
	var loads []*value
	indexed(&loads, b)
	t.learn(b, e&1 == 0, loads)
	least := max(t.least[b.n], need(b))
	for t.reached[b.n] {
		to, ok := t.skip(t.to[e], least)
		if !ok {
			t.reached[t.to[e].n] = true
			break
		}
		t.to[e] = to
	}
	for _, kid := range t.kids[e] {
		t.visit(kid)
	}
	t.forget(b, loads)
}

// learn pushes what is known after the block's test.
func (t *threader) learn(b *block, outcome bool, loads []*value) {
	for _, v := range loads {
		t.ends[v.a] = append(t.ends[v.a], max(int(v.k+v.size), last(t.ends[v.a], 0)))
	}
	if b.op != blockTest {
		return
	}
	no := t.testNo[b.n]
	t.outcomes[no] = append(t.outcomes[no], outcome)
	if r := b.test.r; r.op == opConst {
		no := t.valueNo[b.n]
		known := last(t.ranges[no], newRange(b.test.l))
		known.learn(b.test.op, r.k, outcome)
		t.ranges[no] = append(t.ranges[no], known)
	}
}

// forget pops what learn pushed.
func (t *threader) forget(b *block, loads []*value) {
	for _, v := range loads {
		t.ends[v.a] = t.ends[v.a][:len(t.ends[v.a])-1]
	}
	if b.op != blockTest {
		return
	}
	o := &t.outcomes[t.testNo[b.n]]
	*o = (*o)[:len(*o)-1]
	if b.test.r.op == opConst {
		r := &t.ranges[t.valueNo[b.n]]
		*r = (*r)[:len(*r)-1]
	}
}

// last returns the last element, or one for an empty slice.
func last[T any](s []T, none T) T {
	if len(s) == 0 {
		return none
	}
	return s[len(s)-1]
}

// skip returns the successor of the block on this way, if the test's outcome is known and the block
// does nothing else.
func (t *threader) skip(b *block, least int) (*block, bool) {
	if b.op != blockTest || b.sets != [4]set{} {
		return nil, false
	}
	known, is := t.decide(b)
	if b.jt == b.jf {
		known, is = true, true
	}
	to := b.jf
	if is {
		to = b.jt
	}
	if !known || to.op != blockReject && !(t.there(b.test.l, least) && t.there(b.test.r, least)) {
		return nil, false
	}
	return to, true
}

// decide returns the outcome of the block's test, if it is known.
func (t *threader) decide(b *block) (known, is bool) {
	if o := t.outcomes[t.testNo[b.n]]; len(o) > 0 {
		return true, o[len(o)-1]
	}
	if b.test.r.op != opConst {
		return false, false
	}
	r := last(t.ranges[t.valueNo[b.n]], newRange(b.test.l))
	return r.decide(b.test.op, b.test.r.k)
}

// there reports whether computing the value can't fail here, where packets have at least least
// bytes.
func (t *threader) there(v *value, least int) bool {
	switch {
	case !v.fails:
		return true
	case v.op == opMSH:
		return int(v.k)+1 <= least
	case v.op == opLoad && v.a == nil:
		return int(v.k+v.size) <= least
	case v.op == opLoad:
		return int(v.k+v.size) <= last(t.ends[v.a], 0)
	case v.op == opALU && divides(v.size) && v.b.op != opConst:
		return false
	}
	return t.there(v.a, least) && (v.b == nil || t.there(v.b, least))
}

// remake rebuilds the blocks that are still reachable.
func (t *threader) remake(b *block, made []*block) *block {
	if m := made[b.n]; m != nil {
		return m
	}
	yes, no := t.edges(b)
	var m *block
	switch b.op {
	case blockTest:
		no := t.remake(t.to[no], made)
		m = t.g.branch(b.test, b.sets, t.remake(t.to[yes], made), no)
	case blockGoto:
		m = t.g.one(block{op: blockGoto, sets: b.sets, jt: t.remake(t.to[yes], made)})
	default:
		m = b
	}
	made[b.n] = m
	return m
}

// need returns how many bytes a packet must have for those loads of the block that have a fixed
// offset.
func need(b *block) int {
	n := 0
	for _, v := range b.values() {
		n = max(n, v.need)
	}
	return n
}

// indexed appends those loads of the block that have a computed offset.
func indexed(loads *[]*value, b *block) {
	for _, v := range b.values() {
		addIndexed(loads, v)
	}
}

func addIndexed(loads *[]*value, v *value) {
	if v == nil || !v.x || !v.fails {
		return
	}
	if v.op == opLoad {
		*loads = append(*loads, v)
	}
	addIndexed(loads, v.a)
	addIndexed(loads, v.b)
}
