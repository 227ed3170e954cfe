package console

import (
	"strings"
)

// transactionModes are the words that BEGIN may be followed by; none has an effect here.
const transactionModes = " isolation level serializable repeatable read committed uncommitted write only not deferrable "

// transaction reads what begins or ends a transaction.
func (p *parser) transaction(word string) statement {
	switch word {
	case "START":
		p.expect("TRANSACTION")
		p.modes()
		return &transaction{begin: true, tag: "START TRANSACTION"}
	case "BEGIN":
		p.take("WORK", "TRANSACTION")
		p.modes()
		return &transaction{begin: true, tag: "BEGIN"}
	case "ROLLBACK", "ABORT":
		p.take("WORK", "TRANSACTION")
		return &transaction{tag: "ROLLBACK"}
	}
	p.take("WORK", "TRANSACTION")
	return &transaction{tag: "COMMIT"}
}

func (p *parser) modes() {
	for p.tok.isOp(",") || p.tok.kind == tokenWord && strings.Contains(transactionModes, " "+strings.ToLower(p.tok.text)+" ") {
		p.advance()
	}
}

// housekeeping reads what tidies a session up.
func (p *parser) housekeeping(word string) statement {
	switch word {
	case "RESET":
		if p.take("ALL") != "" {
			return &reset{all: true}
		}
		if name := p.takeSettingOfTwoWords(); name != "" {
			return &reset{name: name}
		}
		start := p.tok.start
		return &reset{text: p.text, name: p.identifier(), nameAt: start}
	case "DISCARD":
		what := p.expect("ALL", "PLANS", "SEQUENCES", "TEMP", "TEMPORARY")
		return &discard{all: what == "ALL", tag: "DISCARD " + strings.Replace(what, "TEMPORARY", "TEMP", 1)}
	case "DEALLOCATE":
		p.take("PREPARE")
		if p.take("ALL") != "" {
			return &deallocate{all: true}
		}
		start := p.tok.start
		return &deallocate{text: p.text, name: p.identifier(), nameAt: start}
	case "CLOSE":
		p.expect("ALL")
		return &nothing{tag: "CLOSE CURSOR ALL"}
	}
	p.expectOp("*")
	return &nothing{tag: "UNLISTEN"}
}

// set reads what follows SET: a parameter of the session, as drivers set them, or a key of the pooler's configuration.
func (p *parser) set() statement {
	if word := p.take("SESSION", "LOCAL"); word != "" {
		if p.take("CHARACTERISTICS") != "" {
			p.expect("AS")
			p.expect("TRANSACTION")
			p.modes()
			return &nothing{tag: "SET"}
		}
		if p.take("AUTHORIZATION") != "" {
			p.expect("DEFAULT")
			return &nothing{tag: "SET"}
		}
		return p.setSession(word == "LOCAL")
	}
	switch {
	case p.take("TRANSACTION") != "":
		p.modes()
		return &nothing{tag: "SET"}
	case p.tok.is("NAMES"), p.tok.is("TIME"), isSetting(p.tok.text):
		return p.setSession(false)
	}
	key := p.key()
	p.assign()
	return &doing{text: p.text, command: SetKey{Key: key, Value: p.value()}}
}

// setSession reads name = value of a parameter of the session.
func (p *parser) setSession(local bool) statement {
	s := &setting{text: p.text, nameAt: p.tok.start, local: local}
	switch name := p.takeSettingOfTwoWords(); {
	case name != "":
		s.name = name
	case p.take("NAMES") != "":
		s.name = "client_encoding"
	default:
		s.name = p.identifier()
		for p.takeOp(".") { // a parameter of an extension's kind
			s.name += "." + p.identifier()
		}
		p.assign()
	}
	s.valueAt = p.tok.start
	if p.take("DEFAULT") != "" {
		s.toDefault = true
		return s
	}
	values := []string{p.value()}
	for p.takeOp(",") {
		values = append(values, p.value())
	}
	s.value = strings.Join(values, ", ")
	return s
}

func (p *parser) assign() {
	if !p.takeOp("=") {
		p.expect("TO")
	}
}

// value reads what a parameter or key is set to.
func (p *parser) value() string { return p.word(isValuePart) }

// key reads a key of the configuration. Parts that TOML quotes may be quoted, and stay so: databases."my db".pool_size.
func (p *parser) key() string {
	var b strings.Builder
	for ok := true; ok; ok = p.tok.start == p.last && !p.tok.isOp("=") && p.tok.kind != tokenEnd {
		if p.tok.kind == tokenQuoted {
			b.WriteString(tomlKey(p.tok.text))
			p.advance()
			continue
		}
		b.WriteString(p.raw(isNamePart))
	}
	return b.String()
}

// tomlKey is a key's part as TOML writes it.
func tomlKey(part string) string {
	bare := func(r rune) bool {
		return r < 0x80 && r != '$' && r != '.' && isNamePart(r)
	}
	if part != "" && strings.IndexFunc(part, func(r rune) bool { return !bare(r) }) < 0 {
		return part
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(printable(part)) + `"`
}
