package sessionstate

import "bytes"

// LastComment is the content of the last comment in a text, or in the beginning and the tail of one (""), without its
// marks. tail is the end of a text that is too long to be had whole; a comment in it counts if the text ends with it,
// since otherwise it might stand in a string.
func LastComment(text, tail []byte, standardStrings bool) string {
	if end := bytes.TrimRight(tail, "; \t\r\n"); bytes.HasSuffix(end, []byte("*/")) {
		if begin := bytes.LastIndex(end[:len(end)-2], []byte("/*")); begin >= 0 {
			return string(bytes.TrimSpace(end[begin+2 : len(end)-2]))
		}
	}
	if !bytes.Contains(text, []byte("/*")) && !bytes.Contains(text, []byte("--")) {
		return ""
	}
	var last []byte
	lex := lexer{text: text, standard: standardStrings}
	for {
		p, ok := lex.next()
		switch {
		case !ok:
			return string(bytes.TrimSpace(last))
		case p.kind != pieceSpace:
		case bytes.HasPrefix(p.text, []byte("/*")) && bytes.HasSuffix(p.text, []byte("*/")) && len(p.text) >= 4:
			last = p.text[2 : len(p.text)-2]
		case bytes.HasPrefix(p.text, []byte("--")):
			last = p.text[2:]
		}
	}
}
