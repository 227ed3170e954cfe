package sessionstate

import "strings"

// PinSet is a set of reasons why a server session cannot leave its client. Most are effects of its statements.
type PinSet uint64

// Reasons that are no effect of a text; those that are have the Effect's own bit.
const (
	PinUnnamed    PinSet = 1 << (iota + 40) // an unnamed statement too large to carry
	PinLargeName                            // a named statement too large to carry
	PinUnverified                           // PostgreSQL could not be asked
)

// verifiable are the effects whose remains PostgreSQL can be asked about: they pin when it says that something is left.
const verifiable = EffectSettings | EffectRole | EffectPrepare | EffectHoldCursor | EffectTemp | EffectAdvisoryLock |
	EffectListen

// resetless are the effects that PostgreSQL cannot be asked about and that DISCARD ALL does not undo: they pin at once,
// and the server session is replaced after them (shared/reference/drcp.md 5.2, measured).
const resetless = EffectSeed | EffectLoad | EffectForeign

// PinsOf returns the pins that a statement with effects e leads to whatever PostgreSQL may say.
func PinsOf(e Effect) PinSet { return PinSet(e & resetless) }

// Unresettable tells whether DISCARD ALL would leave something of p behind.
func (p PinSet) Unresettable() bool { return p&PinSet(resetless) != 0 }

// AfterTag returns what remains of p after a statement with the given command tag has ended outside a transaction.
func (p PinSet) AfterTag(tag string) PinSet {
	switch tag {
	case "DISCARD ALL":
		return p & PinSet(resetless)
	case "DISCARD TEMP":
		return p &^ PinSet(EffectTemp)
	case "DISCARD SEQUENCES":
		return p &^ PinSet(EffectSequence)
	case "DEALLOCATE ALL":
		return p &^ PinSet(EffectPrepare)
	case "CLOSE CURSOR ALL":
		return p &^ PinSet(EffectHoldCursor)
	}
	return p
}

// String lists the reasons, most telling first, for operators.
func (p PinSet) String() string {
	var why []string
	for _, n := range pinNames {
		if p&n.pin != 0 {
			why = append(why, n.name)
		}
	}
	return strings.Join(why, ",")
}

// PinReasons lists every reason, each as a set of its own.
func PinReasons() []PinSet {
	var all []PinSet
	for _, n := range pinNames {
		all = append(all, n.pin)
	}
	return all
}

var pinNames = []struct {
	pin  PinSet
	name string
}{
	{PinSet(EffectTemp), "temporary_object"},
	{PinSet(EffectAdvisoryLock), "advisory_lock"},
	{PinSet(EffectListen), "listen"},
	{PinSet(EffectHoldCursor), "hold_cursor"},
	{PinSet(EffectPrepare), "sql_prepare"},
	{PinSet(EffectSettings), "setting"},
	{PinSet(EffectRole), "role"},
	{PinSet(EffectSequence), "sequence"},
	{PinSet(EffectSeed), "setseed"},
	{PinSet(EffectLoad), "load"},
	{PinSet(EffectForeign), "foreign_connection"},
	{PinUnnamed, "large_unnamed_statement"},
	{PinLargeName, "large_statement"},
	{PinUnverified, "unverified"},
}
