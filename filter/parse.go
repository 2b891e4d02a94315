package filter

import (
	"fmt"
	"slices"
	"strings"
)

// A parser turns text into a syntax tree by recursive descent.
type parser struct {
	text  string
	tok   token
	prev  token // the token before tok
	err   error // the first error; after it, tok is the end of the text
	depth int   // nesting levels
	terms int   // number of conditions and operands so far
}

// A unit is what can stand between "and", "or" and parentheses. It is a condition; an id that takes
// its qualifiers from the id before it; or the beginning of an arithmetic expression, while it is
// not known yet which of these it will be.
type unit struct {
	what  unitKind
	pos   pos
	cond  expr  // for a condition or an id
	num   token // for a number, which may turn out to be an id
	arith arith // for a number or an arithmetic expression
	qual  qual  // the qualifiers that carry over to the next id
}

type unitKind uint8

const (
	unitCond unitKind = iota
	unitID
	unitNumber
	unitArith
)

// maxTerms limits the conditions and operands of an expression, and thereby the work of the later
// steps. No program of MaxInstructions needs as many.
const maxTerms = 3 * MaxDepth

// parse returns the syntax tree of the text, or nil for the empty expression.
func parse(text string) (expr, error) {
	p := &parser{text: text}
	p.next()
	if p.err == nil && p.tok.kind == tokEOF {
		return nil, nil
	}
	u := p.chain(p.unit(qual{}), unitCond)
	if p.tok.kind != tokEOF {
		p.unexpected("and, or, or the end", followers())
	}
	if p.err != nil {
		return nil, p.err
	}
	return u.cond, nil
}

// fail stores the first error and ends the parsing.
func (p *parser) fail(off int, hint, format string, args ...any) {
	if p.err == nil {
		p.err = &SyntaxError{off, fmt.Sprintf(format, args...), hint}
	}
	p.tok = token{kind: tokEOF, off: len(p.text), end: len(p.text)}
}

// unexpected fails at the token with a message about what was expected. words are the words that would
// be allowed; the hint names the most similar one.
func (p *parser) unexpected(want string, words []string) {
	got, hint := fmt.Sprintf("%q", clip(p.tok.text)), ""
	if p.tok.kind == tokEOF {
		got = "end"
	} else if w, ok := foreign[p.tok.text]; ok && p.tok.kind == tokWord {
		hint = w
	} else if _, n, ok := strings.Cut(p.tok.text, "-"); ok && p.tok.kind == tokName && prefixLen(n, isDigit) == len(n) {
		hint = "a minus needs a space before it"
	} else if w := nearest(p.tok.text, words); w != "" && w != p.tok.text {
		hint = fmt.Sprintf("did you mean %q?", w)
	} else if w := nearest(p.prev.text, words); w != "" && p.prev.kind == tokName {
		hint = fmt.Sprintf("did you mean %q where %q is?", w, p.prev.text)
	}
	p.fail(p.tok.off, hint, "unexpected %s, expected %s", got, want)
}

// next advances to the next token.
func (p *parser) next() {
	if p.err != nil {
		return
	}
	t, err := lex(p.text, p.tok.end)
	if err != nil {
		e := err.(*SyntaxError)
		p.fail(e.Offset, e.Hint, "%s", e.Msg)
		return
	}
	p.prev, p.tok = p.tok, t
}

// is reports whether the token is one of the keywords or signs.
func (p *parser) is(words ...string) bool {
	return p.tok.kind == tokWord && slices.Contains(words, p.tok.text)
}

// accept advances if the token is the keyword or sign, and reports whether it was.
func (p *parser) accept(word string) bool {
	ok := p.is(word)
	if ok {
		p.next()
	}
	return ok
}

// enter counts a nesting level. The caller must call leave.
func (p *parser) enter() {
	if p.depth++; p.depth > MaxDepth+1 { // the content of the parentheses is one level more
		p.fail(p.tok.off, "", "more than %d levels of nesting", MaxDepth)
	}
	if p.terms++; p.terms > maxTerms {
		p.fail(p.tok.off, "", "more than %d conditions", maxTerms)
	}
}

func (p *parser) leave() { p.depth-- }

// chain parses what follows the first unit of a list, and returns the whole list as one unit. The
// first unit decides what may follow: after an id only ids, unless least is unitCond, which
// requires a condition.
func (p *parser) chain(u unit, least unitKind) unit {
	if least == unitCond && u.what != unitCond {
		p.notCondition(u)
	}
	ids := u.what != unitCond
	for p.is("and", "or") {
		and := p.tok.text == "and"
		if u = p.asID(u); p.err != nil {
			return u
		}
		p.next()
		r := p.asID(p.unit(u.qual))
		if ids && r.what == unitCond {
			p.fail(int(r.pos), "give the first of them its own parentheses", "expected an address, a port or a name, as before in these parentheses")
		}
		if p.err != nil {
			return u
		}
		what := unitCond
		if ids {
			what = unitID
		}
		u = unit{what: what, pos: u.pos, cond: binaryExpr{and, u.cond, r.cond}, qual: r.qual}
	}
	return u
}

// notCondition fails because the unit at the start of an expression is not a condition.
func (p *parser) notCondition(u unit) {
	if u.what == unitID || u.what == unitNumber {
		p.fail(int(u.pos), "write host, net, port or proto before it", "an address or a number can't stand alone")
		return
	}
	p.unexpected("a comparison such as = or >", nil)
}

// asID makes a condition from a number that turned out to be an id.
func (p *parser) asID(u unit) unit {
	switch u.what {
	case unitNumber:
		u.cond = p.id(u.qual, u.num)
		u.what = unitID
	case unitArith:
		p.unexpected("a comparison such as = or >", nil)
	}
	return u
}

// id returns the node of an id with its qualifiers.
func (p *parser) id(q qual, t token) idExpr {
	if !q.known && t.kind == tokName && t.off == p.tok.off {
		for _, kind := range named(t.text) {
			p.fail(t.off, fmt.Sprintf("write %s %s", kind, t.text), "unexpected %q, expected a condition", t.text)
		}
		p.unexpected("a condition", starters())
	}
	if !q.known {
		p.fail(t.off, "write host, net, port or proto before it", "%q has no qualifier, and no address or name before it has one", clip(t.text))
	}
	return idExpr{pos: pos(t.off), qual: q, id: t}
}

// named returns which kinds of id the name can be, if it is known.
func named(name string) (kinds []addrKind) {
	if _, ok := ipProtocols[name]; ok {
		kinds = append(kinds, addrProto)
	}
	if _, ok := services[name]; ok {
		kinds = append(kinds, addrPort)
	}
	return kinds
}

// unit parses one unit. q are the qualifiers that it inherits if it has none.
func (p *parser) unit(q qual) unit {
	p.enter()
	defer p.leave()
	start := pos(p.tok.off)
	switch p.tok.kind {
	case tokNumber:
		t := p.tok
		p.next()
		return p.relation(unit{what: unitNumber, pos: start, num: t, arith: numArith{start, t.num}, qual: q})
	case tokName, tokIPv4, tokIPv6, tokMAC, tokARCnet:
		return unit{what: unitID, pos: start, cond: p.address(q), qual: q}
	case tokEOF:
		p.unexpected("a condition", nil)
		return unit{pos: start}
	}
	switch {
	case p.accept("not"):
		u := p.asID(p.unit(q))
		u.cond, u.pos = notExpr{u.cond}, start
		return u
	case p.accept("("):
		u := p.chain(p.unit(q), unitArith)
		if p.err == nil && !p.accept(")") {
			p.unexpected("and, or, or a closing parenthesis", followers())
		}
		u.pos = start
		return p.closed(u, q)
	case p.is("len", "-"):
		return p.relation(unit{what: unitArith, pos: start, arith: p.operand()})
	}
	return p.primitive()
}

// closed turns the unit inside parentheses into the unit of the parentheses. q are the qualifiers
// before them.
func (p *parser) closed(u unit, q qual) unit {
	switch u.what {
	case unitCond:
		u.qual = q
	case unitNumber:
		return p.relation(u)
	case unitArith:
		u.arith = parenArith{u.arith}
		return p.relation(u)
	}
	return u
}

// address parses an id that is not a number.
func (p *parser) address(q qual) expr {
	e := p.id(q, p.tok)
	p.next()
	switch k := e.id.kind; {
	case (k == tokIPv4 || k == tokIPv6) && p.accept("/"):
		e.bits = p.want(tokNumber, "the number of network bits")
	case k == tokIPv4 && p.accept("mask"):
		e.mask = p.want(tokIPv4, "a network mask such as 255.255.0.0")
	}
	return e
}

// want returns the token and advances, or fails if the token is not of the kind k.
func (p *parser) want(k kind, what string) *token {
	t := p.tok
	if t.kind != k {
		p.unexpected(what, nil)
	}
	p.next()
	return &t
}

// primitive parses a primitive that starts with a keyword.
func (p *parser) primitive() unit {
	start := pos(p.tok.off)
	if p.is("less", "greater") {
		return p.lengthLimit()
	}
	if p.is("inbound", "outbound", "ifindex", "vlan", "mpls", "pppoed", "pppoes", "geneve") {
		return unit{pos: start, cond: p.tagged()}
	}
	if p.accept("llc") {
		e := llcExpr{pos: start}
		if p.tok.kind == tokName || p.is("rnr") {
			e.pdu = strings.ToLower(p.tok.text)
			p.next()
		}
		return unit{pos: start, cond: e}
	}
	pr, named := proto(0), false
	if p.tok.kind == tokWord {
		pr, named = protoOf(p.tok.text)
	}
	if named {
		p.next()
		if p.is("[") {
			return p.relation(unit{what: unitArith, pos: start, arith: p.load(start, pr)})
		}
	}
	if p.is("broadcast", "multicast") {
		e := castExpr{start, pr, p.tok.text == "multicast"}
		p.next()
		return unit{pos: start, cond: e}
	}
	if q, ok := p.qualifiers(pr); ok {
		return p.qualified(q)
	}
	if !named {
		p.unexpected("a condition", starters())
	}
	return unit{pos: start, cond: protoExpr{start, pr}}
}

// starters returns the words with which a condition can start.
func starters() []string { return slices.Concat(words[2:], protoWords[1:]) }

// followers returns the words that can follow a word in a condition.
func followers() []string {
	return append([]string{"and", "or", "src", "dst", "mask", "broadcast", "multicast"}, addrWords[addrHost:]...)
}

// qualified parses the id after its qualifiers.
func (p *parser) qualified(q qual) unit {
	start := pos(p.tok.off)
	if p.tok.kind == tokEOF || p.tok.kind == tokWord && !p.is("not", "(") {
		hint := ""
		if _, ok := protoOf(p.tok.text); ok && q.addr == addrProto {
			hint = fmt.Sprintf(`%s is a keyword: write \%s`, p.tok.text, p.tok.text)
		}
		if w, ok := foreign[p.tok.text]; ok && hint == "" {
			hint = w
		}
		what := map[addrKind]string{addrPort: "a port", addrPortRange: "a range of ports", addrProto: "a protocol", addrProtoChain: "a protocol"}[q.addr]
		if what == "" {
			what = "an address"
		}
		got := "end"
		if p.tok.kind != tokEOF {
			got = fmt.Sprintf("%q", clip(p.tok.text))
		}
		p.fail(p.tok.off, hint, "unexpected %s, expected %s", got, what)
		return unit{pos: start}
	}
	u := p.unit(q)
	if u.what == unitCond || u.what == unitArith {
		p.fail(int(u.pos), "", "expected an address, a port or a name after %q, not a condition", q.addr)
		return u
	}
	u = p.asID(u)
	u.what = unitCond
	return u
}

// qualifiers parses the direction and the kind of an id. At least one of them must be present.
func (p *parser) qualifiers(pr proto) (q qual, ok bool) {
	q = qual{known: true, proto: pr}
	if p.is("src", "dst") {
		q.dir = p.direction()
		ok = true
	}
	kinds := []addrKind{addrHost, addrNet, addrPort, addrPortRange}
	if !ok {
		kinds = append(kinds, addrProto, addrProtoChain, addrGateway)
	}
	for _, k := range kinds {
		if p.accept(k.String()) {
			q.addr = k
			return q, true
		}
	}
	return q, ok
}

// direction parses src and dst, and combinations of them with "or" and "and".
func (p *parser) direction() direction {
	first := p.tok.text
	p.next()
	d, other := dirSrc, "dst"
	if first == "dst" {
		d, other = dirDst, "src"
	}
	if p.is("and", "or") {
		ahead := *p
		ahead.next()
		if ahead.err == nil && ahead.is(other) {
			d = dirAnd
			if p.tok.text == "or" {
				d = dirOr
			}
			// "src or dst port 80" is a direction. libpcap's grammar has no other reading of it
			// either.
			*p = ahead
			p.next()
		}
	}
	return d
}

// lengthLimit parses less and greater.
func (p *parser) lengthLimit() unit {
	start := pos(p.tok.off)
	e := relExpr{pos: start, op: ">=", left: lenArith{start}}
	if p.tok.text == "less" {
		e.op, e.not = ">", true
	}
	p.next()
	n := p.want(tokNumber, "a length in bytes")
	e.right = numArith{pos(n.off), n.num}
	return unit{pos: start, cond: e}
}

// tagged parses a keyword that may be followed by a number, or must be.
func (p *parser) tagged() expr {
	e := wordExpr{pos: pos(p.tok.off), word: p.tok.text}
	p.next()
	switch e.word {
	case "inbound", "outbound", "pppoed":
	case "ifindex":
		e.num = &p.want(tokNumber, "the index of an interface").num
	default:
		if p.tok.kind == tokNumber || p.is("(") {
			e.num = p.number()
		}
	}
	return e
}

// number parses a number, which may be in parentheses.
func (p *parser) number() *uint32 {
	p.enter()
	defer p.leave()
	if !p.accept("(") {
		return &p.want(tokNumber, "a number").num
	}
	n := p.number()
	if p.err == nil && !p.accept(")") {
		p.unexpected("a closing parenthesis", nil)
	}
	return n
}
