package backend

import (
	"fmt"
	"slices"
	"strings"

	"pooler/internal/sessionstate"
)

// Default is the value that PostgreSQL reported for a parameter at the login.
func (c *Conn) Default(name string) string {
	for _, p := range c.defaults {
		if p.Name == name {
			return p.Value
		}
	}
	return ""
}

// Reported is the values that PostgreSQL reports (ParameterStatus), in the order it first did. It is the same pointer
// as long as, and wherever, they are the same.
func (c *Conn) Reported(in *sessionstate.Interner) *sessionstate.Settings {
	if c.reported == nil {
		c.reported = in.InternInOrder(c.parameters)
	}
	return c.reported
}

// Opaque tells whether texts cannot be scanned, because of the client_encoding.
func (c *Conn) Opaque() bool { return c.opaque }

// Expect notes that these settings are on their way to the session: texts behind them are judged as PostgreSQL will
// read them, before it reports what is in force.
func (c *Conn) Expect(settings *sessionstate.Settings) {
	value := func(name string) string {
		if v, ok := settings.Value(name); ok {
			return v
		}
		return c.Default(name)
	}
	c.StdStrings = !isOff(value("standard_conforming_strings"))
	c.opaque = isOpaque(value("client_encoding"))
}

// maxParameters bounds what is kept of a server's reports; PostgreSQL has some 15 parameters that it reports.
const maxParameters = 200

var errParameters = fmt.Errorf("PostgreSQL reports more than %d parameters", maxParameters)

// setParameter notes what PostgreSQL reports. It returns false if there are more parameters than any PostgreSQL has.
func (c *Conn) setParameter(name, value string) bool {
	switch name {
	case "standard_conforming_strings":
		c.StdStrings = !isOff(value)
	case "client_encoding":
		c.opaque = isOpaque(value)
	}
	c.reported = nil
	for i := range c.parameters {
		if c.parameters[i].Name == name {
			c.parameters[i].Value = value
			return true
		}
	}
	if len(c.parameters) >= maxParameters {
		return false
	}
	c.parameters = append(c.parameters, sessionstate.Setting{Name: name, Value: value})
	return true
}

// opaqueEncodings are those in which an ASCII byte may be half of a character, by all their names (pg_encname_tbl in
// PostgreSQL's encnames.c).
var opaqueEncodings = []string{
	"sjis", "shiftjis", "shiftjis2004", "mskanji", "win932", "windows932", "big5", "win950", "windows950", "gbk", "win936",
	"windows936", "uhc", "win949", "windows949", "gb18030", "johab",
}

// isOpaque tells whether texts in this encoding cannot be scanned. PostgreSQL looks at letters and digits of its name only.
func isOpaque(encoding string) bool {
	return slices.Contains(opaqueEncodings, strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, strings.ToLower(encoding)))
}

// isOff reads a Boolean as PostgreSQL does: any beginning that is not ambiguous will do (parse_bool_with_len).
func isOff(v string) bool {
	v = strings.ToLower(v)
	return v == "0" || v != "" && (strings.HasPrefix("false", v) || strings.HasPrefix("no", v)) || len(v) > 1 && strings.HasPrefix("off", v)
}
