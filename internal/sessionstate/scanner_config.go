package sessionstate

// configCall is what is known of the arguments of a set_config under way.
type configCall struct {
	depth   int // of the parentheses around them; 0 if there is none
	argName configName
	arg     uint8
	tokens  uint8 // in the argument, nested ones not counted
	local   bool  // the third argument is literally true
	value   bool  // the second argument is a constant, hence not NULL, and not the role none
}

// configName is which parameter set_config is for.
type configName uint8

const (
	configUnknown configName = iota
	configRole               // role or session_authorization
	configSeed
	configOther
)

// watching tells whether string constants matter: search_path may be set to pg_temp. That a parameter or an expression
// does so cannot be seen; what is created afterwards then is temporary without a sign in its text.
func (s *Scanner) watching() bool {
	return s.kind == kindSet || s.config.depth != 0
}

// argument takes a token of an argument of set_config.
func (s *Scanner) argument(t token) {
	c := &s.config
	if t == tokComma {
		c.arg++
		c.tokens = 0
		return
	}
	c.tokens = min(c.tokens, 9) + 1
	alone := c.tokens == 1
	switch {
	case c.arg == 0 && alone && t == tokString:
		c.argName = s.literal.parameter()
	case c.arg == 0:
		c.argName = configUnknown
	case c.arg == 1:
		none := c.argName != configOther && (s.literal.bad || s.literal.is("none"))
		c.value = alone && t == tokString && !none
	case c.arg == 2:
		c.local = alone && (t == kwTrue || t == tokString && (s.literal.is("true") || s.literal.is("t")))
	}
}

func (l *stringLiteral) parameter() configName {
	switch {
	case l.bad:
		return configUnknown
	case l.is("role"), l.is("session_authorization"):
		return configRole
	case l.is("seed"):
		return configSeed
	}
	return configOther
}

// endConfig judges a set_config whose arguments are known. That of a parameter not known may be of role or seed.
func (s *Scanner) endConfig() {
	c := s.config
	s.config = configCall{}
	if !c.value {
		s.effects |= EffectReset
	}
	if !c.local || c.arg != 2 {
		s.effects |= EffectSettings
		if c.argName == configRole {
			s.effects |= EffectRole
		}
	}
	switch {
	case c.arg != 2, c.argName == configUnknown:
		s.effects |= EffectUnknown
	case c.argName == configSeed:
		s.effects |= EffectSeed
	}
}

// stringLiteral is the beginning of a string constant, and whether the text has pg_temp in it.
type stringLiteral struct {
	text [24]byte
	size uint8
	temp uint8 // how much of pg_temp the last bytes are
	bad  bool  // the text is not the value: too long, escaped, or dollar-quoted
}

// add appends c and tells whether this completes a mention of pg_temp.
func (l *stringLiteral) add(c byte) bool {
	if int(l.size) < len(l.text) {
		l.text[l.size] = c
		l.size++
	} else {
		l.bad = true
	}
	const schema = "pg_temp"
	switch lower := c | 0x20; {
	case lower == schema[l.temp], c == '_' && l.temp == 2:
		l.temp++
	case lower == 'p':
		l.temp = 1
	default:
		l.temp = 0
	}
	if int(l.temp) == len(schema) {
		l.temp = 0
		return true
	}
	return false
}

// is tells whether the constant is text, which is in lower case, however it is written.
func (l *stringLiteral) is(text string) bool {
	if l.bad || int(l.size) != len(text) {
		return false
	}
	for i := range len(text) {
		c := l.text[i]
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != text[i] {
			return false
		}
	}
	return true
}
