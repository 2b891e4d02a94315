package filter

import (
	"maps"
	"slices"
)

// A parenArith is an arithmetic expression in parentheses. It exists only while parsing.
type parenArith struct{ arith }

// levels are the binary operators by increasing precedence. The language does not define the
// precedence of % and ^; mixed rejects expressions that depend on it.
var levels = [...][]string{{"|"}, {"^"}, {"&"}, {"<<", ">>"}, {"+", "-"}, {"*", "/", "%"}}

// level returns the precedence of the operator at the token, or -1.
func (p *parser) level() int {
	if p.tok.kind != tokWord {
		return -1
	}
	return slices.IndexFunc(levels[:], func(ops []string) bool { return slices.Contains(ops, p.tok.text) })
}

// relation parses what follows the first operand of an arithmetic expression: the rest of it and,
// if there is one, a comparison, which makes it a condition.
func (p *parser) relation(u unit) unit {
	if p.level() >= 0 {
		u.arith, u.what = p.operators(u.arith, 0), unitArith
	}
	if !p.is("=", "!=", ">", "<", ">=", "<=") {
		return u
	}
	e := relExpr{pos: u.pos, left: strip(u.arith)}
	switch p.tok.text {
	case "!=":
		e.op, e.not = "=", true
	case "<":
		e.op, e.not = ">=", true
	case "<=":
		e.op, e.not = ">", true
	default:
		e.op = p.tok.text
	}
	p.next()
	e.right = strip(p.operators(p.operand(), 0))
	return unit{pos: u.pos, cond: e}
}

// strip removes the parentheses around an arithmetic expression.
func strip(a arith) arith {
	for {
		in, ok := a.(parenArith)
		if !ok {
			return a
		}
		a = in.arith
	}
}

// operators parses binary operators with at least the precedence least, and their right operands,
// after the operand left.
func (p *parser) operators(left arith, least int) arith {
	for l := p.level(); l >= least; l = p.level() {
		op := p.tok
		p.next()
		right := p.operand()
		for p.level() > l {
			right = p.operators(right, l+1)
		}
		p.mixed(op, left)
		p.mixed(op, right)
		left = binArith{pos(op.off), op.text, strip(left), strip(right)}
	}
	return left
}

// mixed fails if an operator and the one in its operand need parentheses to be unambiguous: C and
// libpcap disagree about the precedence of % and ^.
func (p *parser) mixed(op token, operand arith) {
	inner := ""
	switch a := operand.(type) {
	case binArith:
		inner = a.op
	case negArith:
		inner = "-"
	}
	odd := func(s string) bool { return s == "%" || s == "^" }
	if inner != "" && (odd(op.text) || odd(inner)) && !(op.text == "^" && inner == "^") {
		p.fail(op.off, "add parentheses", "%q next to %q has no agreed order", op.text, inner)
	}
}

// operand parses a number, len or an access to the packet. It may be negated or in parentheses.
func (p *parser) operand() arith {
	p.enter()
	defer p.leave()
	t := p.tok
	start := pos(t.off)
	switch {
	case t.kind == tokNumber:
		p.next()
		return numArith{start, t.num}
	case p.accept("len"):
		return lenArith{start}
	case p.accept("-"):
		return negArith{start, strip(p.operand())}
	case p.accept("("):
		a := p.operators(p.operand(), 0)
		if p.err == nil && !p.accept(")") {
			p.unexpected("an operator or a closing parenthesis", nil)
		}
		return parenArith{a}
	}
	if pr, ok := protoOf(t.text); ok && t.kind == tokWord {
		p.next()
		if p.is("[") {
			return p.load(start, pr)
		}
		p.unexpected("[", nil)
		return numArith{}
	}
	p.unexpected("a number, len, or bytes of a packet such as ip[0]", slices.Concat(protoWords[1:], []string{"len"}, slices.Collect(maps.Keys(constants))))
	return numArith{}
}

// load parses the index and the size of an access to the packet.
func (p *parser) load(start pos, pr proto) arith {
	p.next()
	e := loadArith{pos: start, proto: pr, size: 1}
	e.index = strip(p.operators(p.operand(), 0))
	if p.accept(":") {
		t := p.want(tokNumber, "a size in bytes: 1, 2 or 4")
		if e.size = t.num; e.size != 1 && e.size != 2 && e.size != 4 {
			p.fail(t.off, "", "a size of %d bytes: only 1, 2 and 4 can be loaded", t.num)
		}
	}
	if p.err == nil && !p.accept("]") {
		p.unexpected("an operator, a colon or ]", nil)
	}
	return e
}
