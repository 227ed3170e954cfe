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
	case stepDrop:
		s.step = stepDone
		s.drop(t)
	case stepSet, stepSetLocal, stepSetTransaction, stepSetSession, stepSetRole, stepSetLocalRole, stepSetNames,
		stepSetValue, stepReset, stepResetSession:
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
	case openDrop:
		s.kind, s.step = kindNoCalls, stepDrop
	case openDeclare:
		s.kind = kindDeclare
	case openInsert:
		s.step = stepInsert
	}
}

// object is what a word behind CREATE, ALTER or DROP says.
func (s *Scanner) object(t token) objectKind {
	if t < tokName || !s.bare {
		return objectUnknown
	}
	return words.infos[s.info].object
}

// create takes a word behind CREATE, up to the one that says what is created.
func (s *Scanner) create(t token) {
	made := s.object(t)
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
	case objectDatabase:
		s.kind = kindNoCalls
		s.effects |= EffectNeighbours
	case objectPlain, objectDomain, objectRole:
		s.kind = kindNoCalls
	case objectUnknown, objectAlterOnly, objectSystem, objectOwned, objectModifier:
		s.effects |= EffectUnknown
	}
}

// alter takes the word behind ALTER. Only of tables and domains may it compute something.
func (s *Scanner) alter(t token) {
	switch s.object(t) {
	case objectTable: // a new column's default fills the rows
		s.effects |= EffectInsert
	case objectDomain:
	case objectUnknown, objectModifier, objectOwned:
		s.effects |= EffectUnknown
	case objectDatabase, objectRole:
		s.kind = kindNoCalls
		s.effects |= EffectDefaults | EffectNeighbours
	case objectSystem:
		s.kind = kindNoCalls
		s.effects |= EffectDefaults
	case objectPlain, objectAlterOnly, objectIndex, objectMaterialized, objectFunction, objectRule, objectSchema:
		s.kind = kindNoCalls
	}
}

// drop takes the word behind DROP.
func (s *Scanner) drop(t token) {
	switch s.object(t) {
	case objectDatabase, objectRole, objectOwned:
		s.effects |= EffectNeighbours
	default:
	}
}

// set takes a token behind SET or RESET. Its words are names of parameters if a dot, = or TO follows.
func (s *Scanner) set(t token) {
	assigns := t == tokDot || t == tokOperator || t == kwTo
	at := s.step
	s.step = stepSetValue
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
			return
		}
		s.localParameter(t)
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
	case stepSetRole, stepSetLocalRole:
		s.role(at, t)
	case stepSetValue, stepSetNames: // no other value is a keyword
		if t == kwDefault || t == kwLocal {
			s.effects |= EffectReset
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
		if t >= tokName && s.first == wordNames && s.kind == kindSet {
			s.step = stepSetNames
		}
	}
}

// localParameter takes the name of a parameter that is set for the transaction.
func (s *Scanner) localParameter(t token) {
	switch {
	case t == kwRole, t == kwSessionAuthorization:
		s.step = stepSetLocalRole
	case t == kwSeed:
		s.effects |= EffectSeed
	case t >= tokName && s.first == wordNames:
		s.step = stepSetNames
	}
}

// role takes a token behind SET ROLE or SET role. The role none is whoever the session belongs to.
func (s *Scanner) role(at step, t token) {
	switch {
	case t == tokDot && at == stepSetRole: // role.x is a parameter like any other
		s.effects |= EffectSettings
	case t == tokOperator, t == kwTo:
		s.step = at
	case t == tokString: // which may be continued
		s.step = at
		if s.literal.bad || s.literal.is("none") {
			s.effects |= EffectReset
		}
	case t == kwDefault, t >= tokName && s.first == wordNone:
		s.effects |= EffectReset
	}
}
