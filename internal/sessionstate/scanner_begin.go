package sessionstate

// begin takes a token of a statement's beginning, as long as more of it counts. It is called outside parentheses.
func (s *Scanner) begin(t token) {
	switch s.step {
	case stepFirst:
		s.step = stepDone
		if t != tokOpen {
			s.openStatement(t)
		}
	case stepExplain:
		if t >= tokName && t != kwAnalyze && t != kwVerbose {
			s.step = stepDone
			s.openStatement(t)
		}
	case stepInsert:
		s.step = stepDone
	case stepPrepare:
		if t == kwTransaction {
			s.step = stepPrepareTransaction
			return
		}
		s.step = stepDone
		s.effects |= EffectPrepare
	case stepPrepareTransaction: // also a name for a statement
		s.step = stepDone
		if t != tokString {
			s.effects |= EffectPrepare
		}
	case stepCreate:
		s.create(t)
	case stepAlter:
		s.step = stepDone
		s.alter(t)
	case stepSet, stepSetLocal, stepSetTransaction, stepSetSession, stepSetRole, stepReset, stepResetSession:
		s.set(t)
	case stepDone:
	}
}

// openStatement takes a statement's first word.
func (s *Scanner) openStatement(t token) {
	if t < tokName || !s.bare {
		s.effects |= EffectUnknown
		return
	}
	info := &words.infos[s.info]
	s.effects |= info.starts
	switch info.opening {
	case openUnknown:
		s.effects |= EffectUnknown
	case openCalls:
	case openNoCalls:
		s.kind = kindNoCalls
	case openExplain:
		s.step = stepExplain
	case openSet:
		s.kind, s.step = kindSet, stepSet
	case openReset:
		s.kind, s.step = kindNoCalls, stepReset
	case openPrepare:
		s.step = stepPrepare
	case openCreate:
		s.step = stepCreate
	case openAlter:
		s.step = stepAlter
	case openDeclare:
		s.kind = kindDeclare
	case openInsert:
		s.step = stepInsert
	}
}

// create takes a word behind CREATE, up to the one that says what is created.
func (s *Scanner) create(t token) {
	made := objectUnknown
	if t >= tokName && s.bare {
		made = words.infos[s.info].object
	}
	if t == kwTemp {
		s.temporary = true
	}
	if made == objectModifier {
		return
	}
	s.step = stepDone
	if s.temporary && made != objectTable {
		s.effects |= EffectTemp // ON COMMIT DROP is for tables alone
	}
	switch made {
	case objectTable, objectMaterialized:
		s.kind = kindTable
	case objectIndex:
		s.kind = kindIndex
	case objectSchema:
	case objectFunction:
		s.kind = kindFunction
	case objectRule:
		s.kind = kindRule
	case objectPlain, objectDomain:
		s.kind = kindNoCalls
	case objectUnknown, objectAlterOnly, objectModifier:
		s.effects |= EffectUnknown
	}
}

// alter takes the word behind ALTER. Only of tables and domains may it compute something.
func (s *Scanner) alter(t token) {
	altered := objectUnknown
	if t >= tokName && s.bare {
		altered = words.infos[s.info].object
	}
	switch altered {
	case objectTable, objectDomain:
	case objectUnknown, objectModifier:
		s.effects |= EffectUnknown
	case objectPlain, objectAlterOnly, objectIndex, objectMaterialized, objectFunction, objectRule, objectSchema:
		s.kind = kindNoCalls
	}
}

// set takes a token behind SET or RESET. Its words are names of parameters if a dot, = or TO follows.
func (s *Scanner) set(t token) {
	assigns := t == tokDot || t == tokOperator || t == kwTo
	at := s.step
	s.step = stepDone
	switch at {
	case stepSet:
		switch t {
		case kwLocal:
			s.step = stepSetLocal
		case kwTransaction, kwConstraints:
			s.step = stepSetTransaction
		case kwSession:
			s.step = stepSetSession
		default:
			s.parameter(t)
		}
	case stepSetLocal:
		if assigns {
			s.effects |= EffectSettings
		}
		if t == kwSeed {
			s.effects |= EffectSeed
		}
	case stepSetTransaction:
		if assigns {
			s.effects |= EffectSettings
		}
	case stepSetSession, stepResetSession:
		switch t {
		case kwAuthorization:
			s.effects |= EffectRole
		case kwSession:
			s.step = at
		default:
			s.parameter(t)
		}
	case stepReset:
		if t == kwSession {
			s.step = stepResetSession
			return
		}
		s.parameter(t)
	case stepSetRole:
		if t == tokDot { // role.x is a parameter like any other
			s.effects |= EffectSettings
		}
	default:
	}
}

// parameter takes the name of a parameter that is set for the session.
func (s *Scanner) parameter(t token) {
	switch t {
	case kwRole, kwSessionAuthorization:
		s.effects |= EffectRole
		s.step = stepSetRole
	case kwSeed:
		s.effects |= EffectSettings | EffectSeed
	default:
		s.effects |= EffectSettings
	}
}
