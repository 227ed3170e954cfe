package console

import (
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// command reads a command of the pooler's, whose first word has been read.
func (p *parser) command(word string) statement {
	c := p.commandAfter(word)
	return &doing{text: p.text, command: c}
}

func (p *parser) commandAfter(word string) Command {
	switch word {
	case "PAUSE":
		return Pause{p.optionalName()}
	case "RESUME":
		return Resume{p.optionalName()}
	case "DISABLE":
		return Disable{p.name()}
	case "ENABLE":
		return Enable{p.name()}
	case "RECONNECT":
		return Reconnect{p.optionalName()}
	case "WAIT_CLOSE":
		return WaitClose{p.optionalName()}
	case "KILL_CLIENT":
		return KillClient{p.clientID()}
	case "KILL":
		if p.take("IDLE") != "" {
			p.hint = hintSyntaxStart + syntaxOf("KILL IDLE")
			return p.killIdle()
		}
		return Kill{p.optionalName()}
	case "SUSPEND":
		return Suspend{}
	case "RELOAD":
		return Reload{}
	case "SAVE":
		return Save{}
	case "SHUTDOWN":
		return Shutdown{p.shutdownWait()}
	}
	return p.poolCommand(word)
}

func (p *parser) poolCommand(word string) Command {
	p.expect("POOL")
	p.hint = hintSyntaxStart + syntaxOf(word+" POOL")
	switch word {
	case "START":
		return StartPool{p.optionalName()}
	case "STOP":
		return p.stopPool()
	case "ALTER":
		return p.alterPool()
	}
	c := RestorePool{Pool: p.name()}
	p.expect("DEFAULTS")
	c.Save = p.take("SAVE") != ""
	return c
}

func (p *parser) stopPool() Command {
	c := StopPool{}
	if !p.tok.is("DRAIN") {
		c.Pool = p.optionalName()
	}
	if p.take("DRAIN") != "" {
		d := p.duration()
		c.Drain = &d
	}
	return c
}

func (p *parser) alterPool() Command {
	c := AlterPool{Pool: p.name()}
	p.expect("SET")
	for ok := true; ok; ok = p.takeOp(",") {
		key := p.key()
		p.assign()
		c.Settings = append(c.Settings, SetKey{Key: key, Value: p.value()})
	}
	c.Save = p.take("SAVE") != ""
	return c
}

func (p *parser) shutdownWait() ShutdownWait {
	switch p.take("WAIT_FOR_SERVERS", "WAIT_FOR_CLIENTS") {
	case "WAIT_FOR_SERVERS":
		return ShutdownWaitForServers
	case "WAIT_FOR_CLIENTS":
		return ShutdownWaitForClients
	}
	return ShutdownNow
}

// name reads a name of a database, pool or the like, which keeps its case.
func (p *parser) name() string {
	start := p.tok.start
	name := p.word(isNamePart)
	if name == "" {
		panic(faultAt(p.text, start, codeSyntax, "a name must not be empty").withHint("%s", p.hint))
	}
	return name
}

func (p *parser) optionalName() string {
	if p.atEnd() {
		return ""
	}
	return p.name()
}

func (p *parser) clientID() uint64 {
	t := p.tok
	if t.kind != tokenNumber && t.kind != tokenString {
		p.unexpected()
	}
	id, err := strconv.ParseUint(t.text, 10, 64)
	if err != nil {
		panic(faultAt(p.text, t.start, codeInvalidText, `"%s" is not the number of a client`, shortened(t.text)).
			withHint("SHOW CLIENTS shows it as id."))
	}
	p.advance()
	return id
}

// killIdle reads the clauses of KILL IDLE, each at most once, in any order.
func (p *parser) killIdle() Command {
	c, seen := KillIdle{}, map[string]bool{}
	for !p.atEnd() {
		clause := p.tok
		word := strings.ToUpper(clause.text)
		if clause.kind != tokenWord || seen[word] {
			p.unexpected()
		}
		seen[word] = true
		p.killIdleClause(&c)
	}
	return c
}

func (p *parser) killIdleClause(c *KillIdle) {
	switch p.expect("OLDER", "FROM", "APPLICATION", "USER", "DATABASE", "DRY") {
	case "OLDER":
		p.expect("THAN")
		c.OlderThan = p.duration()
	case "FROM":
		c.From, c.Unix = p.origin()
	case "APPLICATION":
		name := p.word(isNamePart) // may be empty: of clients that have said none
		c.Application = &name
	case "USER":
		name := p.name()
		c.User = &name
	case "DATABASE":
		name := p.name()
		c.Database = &name
	case "DRY":
		p.expect("RUN")
		c.DryRun = true
	}
}

// origin reads an address, a network, or unix.
func (p *parser) origin() (from netip.Prefix, unix bool) {
	start := p.tok.start
	text := p.word(isAddressPart)
	if strings.EqualFold(text, "unix") {
		return netip.Prefix{}, true
	}
	if network, err := netip.ParsePrefix(text); err == nil {
		return network.Masked(), false
	}
	addr, err := netip.ParseAddr(text)
	if err != nil {
		panic(faultAt(p.text, start, codeInvalidText, `"%s" is not an address, a network or unix`, shortened(text)))
	}
	addr = addr.Unmap().WithZone("")
	return netip.PrefixFrom(addr, addr.BitLen()), false
}

// duration reads 30s, 10 min, '10 minutes', 1h30m, or 90, which are seconds.
func (p *parser) duration() time.Duration {
	start := p.tok.start
	text := p.word(isNamePart)
	if p.tok.kind == tokenWord && !strings.ContainsAny(text, " smhdwSMHDW") {
		if _, ok := unitOf(p.tok.text); ok {
			text += " " + p.tok.text
			p.advance()
		}
	}
	d, ok := parseDuration(text)
	if !ok || d < 0 {
		panic(faultAt(p.text, start, codeInvalidText, `invalid duration: "%s"`, shortened(text)).
			withHint("Durations are written as 30s, 10 min, 1h30m or '2 days'; a number alone is seconds."))
	}
	return d
}
