package sessionstate

// maxFingerprint is how many bytes of a fingerprint tell statements apart well enough.
const maxFingerprint = 200

// Fingerprint is the text without what varies, for logs and for telling alike statements from others: constants become
// ?, white space and comments one space, words lower case; cut to 200 bytes. What a string or name holds that the text
// ends in, is not shown.
func Fingerprint(text []byte, standardStrings bool) string {
	out := make([]byte, 0, maxFingerprint+maxName)
	lex := lexer{text: text, standard: standardStrings}
	space := false
	for len(out) <= maxFingerprint {
		p, ok := lex.next()
		if !ok {
			break
		}
		if p.kind == pieceSpace {
			space = len(out) > 0
			continue
		}
		if space {
			out, space = append(out, ' '), false
		}
		out = appendFingerprint(out, p)
	}
	return truncate(string(out), maxFingerprint)
}

func appendFingerprint(out []byte, p piece) []byte {
	switch p.kind {
	case pieceString, pieceEscaped, pieceDollar, pieceUnicode, pieceNumber, pieceBroken:
		return append(out, '?')
	case pieceWord:
		return append(out, lowerASCII(string(p.text[:min(len(p.text), maxFingerprint+1)]))...)
	default:
		return append(out, p.text[:min(len(p.text), maxFingerprint+1)]...)
	}
}
