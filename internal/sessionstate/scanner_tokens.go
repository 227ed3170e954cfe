package sessionstate

// scanState is what the scanner remembers of the statement it is in, between its tokens.
type scanState struct {
	step step
	kind statementKind
	cte  ctePlace

	last      token // the last token
	before    token // the token before the name, or qualified name, that last ends
	qualifier qualifier
	bare      bool   // the last word has no double quotes
	catalog   bool   // last is pg_catalog and nothing qualifies it
	info      uint16 // of the last word, in words.infos
	first     uint64 // its first bytes

	depth  int // open parentheses
	atomic int // open BEGIN ATOMIC and CASE in the body of a function
	parens [maxParens]paren

	config configCall

	temporary bool // it creates a temporary table, not seen ON COMMIT DROP yet
	hasCase   bool
	hasUpdate bool
	settings  bool // it mentions pg_settings
	conflict  bool // ON CONFLICT seen, its DO not yet
}

// maxParens is how deep parentheses may be nested before the scanner gives up, that is reports EffectUnknown.
const maxParens = 96

// step is how far the beginning of a statement has been read, for the statements where more than one word counts.
type step uint8

const (
	stepDone step = iota
	stepFirst
	stepExplain
	stepInsert
	stepSet
	stepSetLocal
	stepSetTransaction
	stepSetSession
	stepSetRole
	stepSetLocalRole
	stepReset
	stepResetSession
	stepSetNames // behind SET NAMES, which alone is a reset
	stepSetValue // in the rest of SET
	stepPrepare
	stepPrepareTransaction
	stepCreate
	stepAlter
	stepDrop
)

// statementKind is what the scanner must know of the statement behind its beginning.
type statementKind uint8

const (
	kindCalls    statementKind = iota // calls in it are executed
	kindNoCalls                       // no call in it is executed
	kindSet                           // the same, and its constants are values of parameters
	kindFunction                      // the same, and its body may hold semicolons
	kindRule                          // the same, and its parentheses may hold semicolons
	kindIndex                         // CREATE INDEX
	kindTable                         // CREATE TABLE and MATERIALIZED VIEW, also AS
	kindDeclare                       // DECLARE
)

func (k statementKind) executesCalls() bool {
	return k == kindCalls || k >= kindIndex
}

// qualifier is what stands before the last dot of a qualified name.
type qualifier uint8

const (
	qualifierNone qualifier = iota
	qualifierCatalog
	qualifierOther
)

// paren is what a parenthesis encloses.
type paren uint8

const (
	parenPlain      paren = iota
	parenPrefix           // DISTINCT ON (…) and OPERATOR(…): an expression may follow it
	parenCTEColumns       // WITH x (…)
	parenCTEBody          // WITH x AS (…)
	parenConfig           // set_config(…)
)

// ctePlace is where in the list behind WITH the text is. Only there is the name behind a comma no call.
type ctePlace uint8

const (
	cteNone ctePlace = iota
	cteWith
	cteName
	cteColumns
	cteAs
	cteBody
)

// token takes a token that is no word, parenthesis, dot or semicolon.
func (s *Scanner) token(t token) {
	if s.needsAttention() {
		s.attend(t)
	}
	s.last = t
}

// needsAttention is whether attend would do anything.
func (s *Scanner) needsAttention() bool {
	return s.step != stepDone || s.cte != cteNone || s.config.depth != 0
}

// attend moves on what looks at each token.
func (s *Scanner) attend(t token) {
	if s.config.depth != 0 && s.config.depth == s.depth {
		s.argument(t)
	}
	s.cte = s.cte.next(t)
	if s.step != stepDone && s.depth == 0 {
		s.begin(t)
	}
}

// next is the place behind a token other than a parenthesis.
func (c ctePlace) next(t token) ctePlace {
	switch {
	case c == cteWith && t == kwRecursive:
		return cteWith
	case c == cteWith && t >= tokName && t != kwOrdinality:
		return cteName
	case (c == cteName || c == cteColumns) && t == kwAs:
		return cteAs
	case c == cteAs && (t == kwNot || t == kwMaterialized):
		return cteAs
	case c == cteBody && t == tokComma:
		return cteWith
	}
	return cteNone
}

// name takes a word. One in double quotes, or behind a dot, is no keyword.
func (s *Scanner) name(word []byte, quoted bool) {
	index, first := words.find(word, quoted)
	info := &words.infos[index]
	t := info.token
	if s.last == tokDot {
		t = tokName
	} else {
		s.before, s.qualifier = s.last, qualifierNone
		if quoted {
			t = tokName
			if s.step >= stepSet && s.step <= stepReset {
				t = quotedParameter(word)
			}
		}
	}
	s.info, s.first, s.bare = index, first, !quoted
	s.catalog = false
	if info.function >= nameCatalog {
		s.catalog = info.function == nameCatalog && s.qualifier == qualifierNone
		s.settings = s.settings || info.function == nameSettings
		switch {
		case info.function == namePrepared:
			s.effects |= EffectShowPrepared
		case info.function == nameCallback && (s.kind == kindFunction || s.kind == kindNoCalls):
			s.effects |= EffectDefaults
		}
	}
	if first&pgTempMask == pgTemp && (len(word) == len("pg_temp") || word[len("pg_temp")] == '_') {
		s.effects |= EffectTemp
	}
	if s.last == kwLanguage && t != kwHarmlessLanguage && s.kind == kindFunction && s.depth == 0 {
		s.effects |= EffectUnknown
	}
	if t >= firstActing {
		t = s.inContext(t)
	}
	s.token(t)
	if t == kwWith {
		s.cte = cteWith
	}
}

var (
	pgTemp, pgTempMask = partOf("pg_temp")
	dblink, dblinkMask = partOf("dblink")
	wordNames, _       = partOf("names")
	wordNone, _        = partOf("none")
)

// quotedParameter is the token of a quoted name where a parameter is expected: the case of those does not matter.
func quotedParameter(word []byte) token {
	index, _ := words.find(word, false)
	switch t := words.infos[index].token; t {
	case kwRole, kwSessionAuthorization, kwSeed:
		return t
	default:
		return tokName
	}
}

// dot takes a dot. What stands before it, unless it is pg_catalog, may be any schema.
func (s *Scanner) dot() {
	switch {
	case s.last < tokName:
		s.before, s.qualifier = tokOperator, qualifierOther
	case s.catalog:
		s.qualifier = qualifierCatalog
	default:
		s.qualifier = qualifierOther
	}
	s.catalog = false
	s.token(tokDot)
}

// semicolon ends the statement, unless it is inside one.
func (s *Scanner) semicolon() {
	if s.atomic > 0 || s.kind == kindRule && s.depth > 0 {
		s.last = tokOperator
		return
	}
	if s.depth > 0 {
		s.effects |= EffectUnknown
	}
	s.endStatement()
}

func (s *Scanner) endStatement() {
	if s.temporary {
		s.effects |= EffectTemp
	}
	if s.settings && s.hasUpdate {
		s.effects |= EffectSettings | EffectReset
	}
	if s.step == stepSetNames {
		s.effects |= EffectReset
	}
	if s.conflict || s.atomic > 0 {
		s.effects |= EffectUnknown
	}
	s.scanState = scanState{step: stepFirst}
}

// open takes a parenthesis.
func (s *Scanner) open() {
	if s.config.depth != 0 && s.config.depth == s.depth {
		s.argument(tokOpen)
	}
	p := s.opened()
	if s.step != stepDone && s.depth == 0 {
		s.begin(tokOpen)
	}
	if s.depth < maxParens {
		s.parens[s.depth] = p
	} else {
		s.effects |= EffectUnknown
	}
	s.depth++
	s.cte = cteNone
	s.last = tokOpen
}

// close takes a closing parenthesis.
func (s *Scanner) close() {
	s.cte = cteNone
	s.last = tokClose
	if s.depth == 0 {
		s.effects |= EffectUnknown
		return
	}
	if s.config.depth == s.depth {
		s.endConfig()
	}
	s.depth--
	if s.depth >= maxParens {
		s.last = tokOperator
		return
	}
	switch s.parens[s.depth] {
	case parenPrefix:
		s.last = tokOperator
	case parenCTEColumns:
		s.cte = cteColumns
	case parenCTEBody:
		s.cte = cteBody
	case parenPlain, parenConfig:
	}
}

// opened judges what the parenthesis behind the last token encloses: the arguments of a call, unless it is sure that
// it is something else. No call can directly follow the end of an operand.
func (s *Scanner) opened() paren {
	switch {
	case s.cte == cteName:
		return parenCTEColumns
	case s.cte == cteAs:
		return parenCTEBody
	case s.last == kwDistinctOn:
		return parenPrefix
	case s.last < tokName, !s.kind.executesCalls(), neverCalls[s.last], introduces[s.before]:
		return parenPlain
	case s.kind == kindIndex && s.depth == 0 && (s.before == kwOn || s.before == kwOnly || s.before == kwUsing):
		return parenPlain
	case s.last == kwOperator:
		if expects[s.before] {
			s.effects |= EffectUnknown
		}
		return parenPrefix
	}
	return s.call()
}

// call judges a call of the function that the last word names.
func (s *Scanner) call() paren {
	info := &words.infos[s.info]
	s.effects |= info.calls
	switch {
	case s.qualifier == qualifierOther && info.function == functionSetConfig:
		s.effects |= EffectSettings | EffectRole | EffectReset | EffectUnknown
	case s.first&dblinkMask == dblink:
		s.effects |= EffectForeign
	case s.qualifier == qualifierOther:
		s.effects |= EffectUnknown
	case info.function == functionSetConfig && s.config.depth != 0:
		s.effects |= EffectSettings | EffectRole | EffectReset | EffectUnknown
	case info.function == functionSetConfig:
		s.config = configCall{depth: s.depth + 1}
		return parenConfig
	case info.function != functionKnown:
		s.effects |= EffectUnknown
	}
	return parenPlain
}

// inContext returns what a word of those that do something is behind the words before it, and notes what it does.
// It is long for being a flat switch over words.
func (s *Scanner) inContext(t token) token {
	switch t {
	case kwInto:
		if s.step == stepInsert {
			return kwIntoTable
		}
	case kwNot:
		if !expects[s.last] {
			return kwNotInfix // as in a NOT ILIKE (b)
		}
	case kwOn:
		if s.last == kwDistinct {
			return kwDistinctOn
		}
	case kwBy:
		switch {
		case s.last == kwGroup:
			return kwGroupBy
		case s.last == kwPartition && s.kind == kindTable && s.depth == 0:
			return kwPartitionBy
		case s.last == kwPartition, s.last == kwOrder:
			return tokPrefix
		}
	case kwKey:
		return s.behind(t, s.last == kwPrimary || s.last == kwForeign)
	case kwSets:
		return s.behind(t, s.last == kwGrouping)
	case kwZone:
		return s.behind(t, s.last == kwTime)
	case kwFirst:
		return s.behind(t, s.last == kwFetch)
	case kwVarying:
		return s.behind(t, s.last == kwCharacter)
	case kwStrategy:
		return s.behind(t, s.last == kwPartitionBy)
	case kwRollup:
		return s.behind(t, s.last == kwGroupBy)
	case kwInsert: // THEN is of CASE or MERGE
		s.inserts()
		return s.behind(t, s.last == kwThen && !s.hasCase)
	case kwMerge:
		s.inserts()
	case kwDefault:
		if s.hasUpdate {
			s.inserts()
		}
	case kwSet, kwJoin:
		return s.behind(t, !expects[s.last])
	case kwConflict:
		if s.last == kwOn {
			// A function named conflict in a join condition would have no DO.
			if s.conflict {
				s.effects |= EffectUnknown
			}
			s.conflict = true
			return kwOnConflict
		}
	case kwUpdate, kwNothing:
		s.hasUpdate = s.hasUpdate || t == kwUpdate
		if s.last == kwDo {
			s.conflict = false
		}
	case kwCase:
		s.hasCase = true
		if s.atomic > 0 {
			// case may be a column's name as well, and then there is no END to it.
			s.effects |= EffectUnknown
			s.atomic++
		}
	case kwEnd:
		s.atomic = max(s.atomic-1, 0)
	case kwAtomic:
		if s.last == kwBegin && s.kind == kindFunction && s.depth == 0 {
			s.atomic = 1
		}
	case kwTemp:
		switch s.last {
		case kwInto, kwCreate, kwReplace, kwGlobal, kwLocal:
			if s.step != stepCreate {
				s.effects |= EffectTemp
			}
		default:
		}
	case kwHold:
		if s.last == kwWith && s.kind == kindDeclare && s.depth == 0 {
			s.effects |= EffectHoldCursor
		}
	case kwExecute:
		if s.last == kwAs && s.kind == kindTable {
			s.effects |= EffectExecute
		}
	case kwCommit:
		if s.last == kwOn {
			return kwOnCommit
		}
	case kwDrop:
		if s.last == kwOnCommit && s.kind == kindTable && s.depth == 0 {
			s.temporary = false
		}
	default:
	}
	return t
}

// inserts notes that rows with defaults may be made, unless the statement only speaks of it.
func (s *Scanner) inserts() {
	if s.kind.executesCalls() {
		s.effects |= EffectInsert
	}
}

// behind returns t, or if the words before it make it one, a word that no call is named by.
func (s *Scanner) behind(t token, keyword bool) token {
	if keyword {
		return tokPrefix
	}
	return t
}
