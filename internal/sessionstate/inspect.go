package sessionstate

import "slices"

// Details is what Inspect finds in a text whose effects ask for more than a set of them. Names are as PostgreSQL
// reads them: in lower case unless quoted, and truncated. Each name is listed once.
type Details struct {
	Statements    int      // how many the text has
	Verbs         []string // their first words
	Prepares      []string // names that PREPARE gives
	Executes      []string // names that EXECUTE uses, also in EXPLAIN and CREATE TABLE … AS
	Deallocates   []string // names that DEALLOCATE ends; not those of DEALLOCATE ALL
	Settings      []string // in lower case, the parameters that SET, RESET and set_config name; not those of SET LOCAL
	Resets        []string // those of Settings that may go back to their default
	SettingsKnown bool     // Settings has all that the text may change for the session
	Custom        []string // in lower case, words with a dot in them that may name a parameter, also in constants; at most 200
	Calls         []string // unqualified names of the functions called that the scanner does not know
	Opaque        bool     // EffectUnknown for another reason than Calls, or a name that the lists lack
	Words         []string // identifiers and string constants of at most 63 bytes; at most 200
}

// Inspect looks thoroughly at a text whose effects are of interest. It takes its time, and allocates.
func Inspect(text []byte, standardStrings bool) *Details {
	return inspect(text, standardStrings).result()
}

func inspect(text []byte, standardStrings bool) *inspector {
	in := &inspector{details: &Details{SettingsKnown: true}}
	in.custom.limit, in.words.limit = maxNamesFound, maxNamesFound
	in.scanner.Reset(standardStrings)
	lex := lexer{text: text, standard: standardStrings}
	for {
		p, ok := lex.next()
		if !ok {
			break
		}
		in.piece(p)
	}
	in.end()
	in.mentions(text)
	return in
}

// inspector goes through a text piece by piece. It has a Scanner look at each, so that the two never disagree on what
// is a call or ends a statement.
type inspector struct {
	details *Details
	scanner Scanner
	effects Effect

	statement []piece // the one under way, without white space
	configs   []int   // where in it the arguments of set_config begin
	settings  bool    // it updates pg_settings
	resetting bool    // the parameter at hand goes back to its default

	verbs, prepares, executes, deallocates, parameters, resets, custom, calls, words nameSet
}

func (in *inspector) result() *Details {
	d := in.details
	d.Verbs = in.verbs.names
	d.Prepares, d.Executes, d.Deallocates = in.prepares.names, in.executes.names, in.deallocates.names
	d.Settings, d.Resets = in.parameters.names, in.resets.names
	d.Custom, d.Calls, d.Words = in.custom.names, in.calls.names, in.words.names
	if d.Opaque || len(d.Calls) > 0 || in.effects&(EffectExecute|EffectDiscard) != 0 {
		d.SettingsKnown = false
	}
	return d
}

// scan has the scanner go on and returns what effects that brings.
func (in *inspector) scan(b []byte) Effect {
	in.scanner.effects = 0
	in.scanner.Write(b)
	got := in.scanner.effects
	in.effects |= got
	return got
}

// settle has the scanner judge a word that so far might go on.
func (in *inspector) settle() {
	if m := in.scanner.mode; m == lexWord || m == lexQuotedQuote {
		in.opaque(in.scan([]byte(" ")))
	}
}

func (in *inspector) opaque(e Effect) {
	if e&EffectUnknown != 0 {
		in.details.Opaque = true
	}
}

func (in *inspector) piece(p piece) {
	switch p.kind {
	case pieceSpace:
		in.opaque(in.scan(p.text))
		return
	case pieceOpen:
		in.open(p)
	case pieceSemicolon:
		in.semicolon(p)
		return
	default:
		in.opaque(in.scan(p.text))
	}
	in.statement = append(in.statement, p)
}

// open takes a parenthesis, where the scanner tells whether it is that of a call.
func (in *inspector) open(p piece) {
	n := len(in.statement)
	if n == 0 || !in.statement[n-1].isName() {
		in.opaque(in.scan(p.text))
		return
	}
	in.settle()
	s := &in.scanner
	got := in.scan(p.text)
	name := in.statement[n-1].name()
	switch {
	case got&EffectUnknown == 0:
		if s.config.depth != 0 && s.config.depth == s.depth {
			in.configs = append(in.configs, n+1)
		}
	case s.depth > maxParens || name == "set_config":
		in.details.Opaque = true
	default:
		in.calls.add(name)
	}
}

// semicolon takes a semicolon, which the body of a function or rule may have too.
func (in *inspector) semicolon(p piece) {
	in.settle()
	in.settings = in.scanner.settings && in.scanner.hasUpdate
	in.opaque(in.scan(p.text))
	if in.scanner.step != stepFirst {
		in.statement = append(in.statement, p)
		return
	}
	in.endStatement()
}

// end takes the end of the text.
func (in *inspector) end() {
	in.settle()
	in.settings = in.scanner.settings && in.scanner.hasUpdate
	in.scanner.effects = 0
	in.scanner.finish()
	in.effects |= in.scanner.effects
	in.opaque(in.scanner.effects)
	in.endStatement()
}

func (in *inspector) endStatement() {
	if len(in.statement) > 0 {
		in.details.Statements++
		in.judge(in.statement)
		in.collect(in.statement)
	}
	for _, at := range in.configs {
		in.setConfig(in.statement[at:])
	}
	if in.settings {
		in.details.SettingsKnown = false
	}
	in.statement, in.configs, in.settings = in.statement[:0], in.configs[:0], false
}

// judge looks at a statement, or at what EXPLAIN explains, by its first word.
func (in *inspector) judge(st []piece) {
	for first(st, "explain") {
		st = explained(st[1:])
	}
	if len(st) == 0 || st[0].kind != pieceWord {
		return
	}
	in.verbs.add(st[0].name())
	rest := st[1:]
	switch st[0].name() {
	case "prepare":
		if !first(rest, "transaction") || len(rest) > 1 && !rest[1].isString() {
			in.named(&in.prepares, rest)
		}
	case "execute":
		in.named(&in.executes, rest)
	case "deallocate":
		if len(rest) > 1 && first(rest, "prepare") {
			rest = rest[1:]
		}
		if !first(rest, "all") {
			in.named(&in.deallocates, rest)
		}
	case "create":
		if source := tableSource(rest); first(source, "execute") {
			in.named(&in.executes, source[1:])
		}
	case "set":
		in.set(rest)
	case "reset":
		in.reset(rest)
	}
}

// first tells whether st begins with an unquoted word.
func first(st []piece, word string) bool { return len(st) > 0 && st[0].is(word) }

// named adds the name that st begins with.
func (in *inspector) named(to *nameSet, st []piece) {
	if len(st) == 0 || !st[0].isName() {
		in.details.Opaque = true
		return
	}
	to.add(st[0].name())
}

// explained returns the statement behind EXPLAIN and its options.
func explained(st []piece) []piece {
	for len(st) > 0 {
		switch {
		case st[0].kind == pieceOpen:
			st = st[closing(st):]
		case !st[0].isName(), st[0].is("analyze"), st[0].is("analyse"), st[0].is("verbose"):
			st = st[1:]
		default:
			return st
		}
	}
	return nil
}

// closing returns the position behind the parenthesis that st begins with.
func closing(st []piece) int {
	depth := 0
	for i, p := range st {
		switch p.kind {
		case pieceOpen:
			depth++
		case pieceClose:
			depth--
		default:
		}
		if depth == 0 {
			return i + 1
		}
	}
	return len(st)
}

// tableModifiers are the words between CREATE and TABLE.
var tableModifiers = []string{"global", "local", "temp", "temporary", "unlogged"}

// tableSource returns what is behind the AS of CREATE TABLE … AS.
func tableSource(st []piece) []piece {
	for len(st) > 0 && slices.ContainsFunc(tableModifiers, st[0].is) {
		st = st[1:]
	}
	if !first(st, "table") {
		return nil
	}
	for len(st) > 0 && !st[0].is("as") {
		if st[0].kind == pieceOpen {
			st = st[closing(st):]
			continue
		}
		st = st[1:]
	}
	return st[min(1, len(st)):]
}

// collect notes a statement's identifiers and constants.
func (in *inspector) collect(st []piece) {
	for i, p := range st {
		switch {
		case p.isName():
			in.word(p.name())
			if i+1 < len(st) && st[i+1].kind == pieceDot && (i == 0 || st[i-1].kind != pieceDot) {
				name, _ := parameterName(st[i:])
				in.mentions([]byte(name))
			}
		case p.kind == pieceEscaped: // the value may differ from the text, which is looked at as a whole
			value, _ := p.constant()
			in.mentions([]byte(value))
			in.word(value)
		case len(p.text) <= 4*maxName:
			if value, ok := p.constant(); ok {
				in.word(value)
			}
		}
	}
}

func (in *inspector) word(value string) {
	if len(value) <= maxName {
		in.words.add(value)
	}
}

// mentions notes what may be names of custom parameters.
func (in *inspector) mentions(b []byte) {
	customNames(b, func(name []byte) { in.custom.add(lowerASCII(string(name))) })
}
