package sessionstate

// Lengths of fingerprints, in bytes.
const (
	FingerprintKey   = 200 // tells statements apart well enough
	FingerprintShown = 500 // for people
)

// Fingerprint is at most limit bytes of a text without what varies, for people and for telling alike statements from
// others: constants become ?, lists of them "?, …", white space and comments one space, words lower case. What a string
// or name holds that the text ends in, is not shown.
func Fingerprint(text []byte, standardStrings bool, limit int) string {
	if len(text) == 0 {
		return ""
	}
	n := normaliser{limit: limit, out: make([]byte, 0, min(limit, len(text))+maxName)}
	lex := lexer{text: text, standard: standardStrings}
	for len(n.out) <= limit {
		p, ok := lex.next()
		if !ok {
			break
		}
		n.take(p)
	}
	return truncate(string(n.out), limit)
}

// normaliser writes a text anew.
type normaliser struct {
	out   []byte
	limit int
	space bool       // there was some since the last piece
	last  [3]literal // what was written, the latest last
	minus bool       // the last piece is a - that may be a sign
}

// literal is what the normaliser must know of a piece that it has written.
type literal uint8

const (
	notLiteral literal = iota
	aLiteral
	aComma
	aListEnd // the … of a list
	anOpening
)

func (n *normaliser) take(p piece) {
	switch p.kind {
	case pieceSpace:
		n.space = true
	case pieceString, pieceEscaped, pieceDollar, pieceUnicode, pieceNumber, pieceBroken:
		n.literal()
	case pieceComma:
		n.space = false
		n.write(p.text, aComma)
	case pieceOpen:
		n.write(p.text, anOpening)
	case pieceClose, pieceDot, pieceSemicolon:
		n.space = n.space && p.kind != pieceClose
		n.write(p.text, notLiteral)
	case pieceOperator:
		sign := len(p.text) == 1 && (p.text[0] == '-' || p.text[0] == '+')
		if sign && n.last[2] != aLiteral {
			n.minus = n.mayBeSign()
		}
		n.write(p.text, notLiteral)
	case pieceWord:
		n.write([]byte(lowerASCII(string(p.text[:min(len(p.text), n.limit+1)]))), notLiteral)
	default:
		n.write(p.text[:min(len(p.text), n.limit+1)], notLiteral)
	}
}

// mayBeSign tells whether a - here belongs to a number: behind an operator, a comma or an opening parenthesis.
func (n *normaliser) mayBeSign() bool {
	if len(n.out) == 0 {
		return false
	}
	switch n.out[len(n.out)-1] {
	case '=', '<', '>', '*', '/', '%', '+', '-', '(', ',':
		return true
	}
	return false
}

func (n *normaliser) literal() {
	if n.minus {
		n.out = n.out[:len(n.out)-1]
		n.minus = false
		n.last = [3]literal{notLiteral, n.last[0], n.last[1]}
	}
	switch {
	case n.last[2] == aLiteral: // 'a' 'b', or a broken piece
	case n.last[2] == aComma && n.last[1] == aListEnd:
		n.out = n.out[:len(n.out)-1] // the comma
		n.last[2] = aListEnd
	case n.last[2] == aComma && n.last[1] == aLiteral:
		n.write([]byte("…"), aListEnd)
	default:
		n.write([]byte("?"), aLiteral)
	}
	n.space = false
}

func (n *normaliser) write(b []byte, what literal) {
	comma := n.last[2] == aComma
	if len(n.out) > 0 && (n.space || comma) && (n.last[2] != anOpening || !n.space) {
		n.out = append(n.out, ' ')
	}
	n.space = false
	if what != notLiteral || len(b) != 1 || b[0] != '-' && b[0] != '+' {
		n.minus = false
	}
	n.out = append(n.out, b...)
	n.last = [3]literal{n.last[1], n.last[2], what}
}
