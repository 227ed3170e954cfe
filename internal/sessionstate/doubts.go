package sessionstate

import (
	"slices"
	"strings"
)

// Doubts is what the statements since the last boundary may have left in a server session. PostgreSQL is asked about
// it before the session may leave its client.
type Doubts struct {
	Kinds       PinSet   // kinds of state to ask about
	AllSettings bool     // every parameter, not only Names
	Hidden      bool     // a call, a DO block or chance asked for a look at everything
	Names       []string // parameters to ask about, those of extensions' kind (with a dot) included
	Resets      []*Text  // texts that may have set start-up parameters back to their default
	Sampled     bool     // of these, chance
	Announced   PinSet   // kinds that statements are known to leave
	Text        string   // the beginning of the statement that raised them, for operators
	Errors      uint32   // that the server session had made when they began
}

// everything is all that PostgreSQL can be asked about.
const everything = PinSet(verifiable)

// maxNames bounds Doubts.Names; beyond it the rest is asked as AllSettings.
const maxNames = 1000

// Raise adds what the statement t may have left, on a session that is pinned by pins already.
func (d *Doubts) Raise(t *Text, pins PinSet) {
	e := t.Effects
	d.Kinds |= PinSet(e & verifiable)
	d.Announced |= PinSet(e & verifiable)
	if e&EffectDeallocate != 0 {
		d.Kinds |= PinSet(EffectPrepare) // carried ones do not pin
	}
	if e&EffectUnknown != 0 {
		d.RaiseAll()
		d.Announced = everything
	}
	// What ends state matters only where there is some.
	for _, ends := range enders {
		if e&ends.effect != 0 {
			d.Kinds |= ends.state & pins
		}
	}
	if e&(EffectSettings|EffectRole|EffectUnknown) == 0 {
		return
	}
	if e&EffectRole != 0 {
		d.AddNames(identity[:]) // one may change the other
	}
	if t.Details == nil || !t.Details.SettingsKnown {
		d.AllSettings = true
	}
	if t.Details != nil {
		d.AddNames(t.Details.Settings)
		d.AddNames(t.Details.Custom)
		// What went back to its default is not the client's choice any more, and only all of them tell which did.
		d.AllSettings = d.AllSettings || e&EffectReset != 0 && slices.ContainsFunc(t.Details.Settings, isBuiltIn)
	}
}

// isBuiltIn tells whether a parameter is not one of an extension's kind.
func isBuiltIn(name string) bool { return !strings.Contains(name, ".") }

// Pointless tells whether there is nothing to ask about after all.
func (d *Doubts) Pointless() bool {
	return d.Kinds&^PinSet(EffectSettings|EffectRole) == 0 && !d.AllSettings && len(d.Names) == 0
}

// enders are effects that end state of a kind.
var enders = []struct {
	effect Effect
	state  PinSet
}{
	{EffectClose, PinSet(EffectHoldCursor)},
	{EffectUnlisten, PinSet(EffectListen)},
	{EffectDiscard, everything},
}

// RaiseAll asks about everything.
func (d *Doubts) RaiseAll() {
	d.Kinds |= everything
	d.AllSettings, d.Hidden = true, true
}

// AddNames asks about the parameters with these names.
func (d *Doubts) AddNames(names []string) {
	for _, n := range names {
		if len(d.Names) < maxNames && !slices.Contains(d.Names, n) {
			d.Names = append(d.Names, n)
		}
	}
}

// Doubtful tells whether t raises doubts at all.
func (t *Text) Doubtful(pins PinSet) bool {
	if t.Effects&(verifiable|EffectUnknown|EffectDeallocate) != 0 {
		return true
	}
	if pins == 0 {
		return false
	}
	for _, ends := range enders {
		if t.Effects&ends.effect != 0 && ends.state&pins != 0 {
			return true
		}
	}
	return false
}

// Resets tells whether t may set one of base back to the server's default.
func (t *Text) Resets(base *Settings) bool {
	switch {
	case base == nil, t.Effects&EffectReset == 0:
		return false
	case t.Details == nil, !t.Details.SettingsKnown, len(t.Details.Settings) == 0: // SET LOCAL … TO DEFAULT, for one
		return true
	}
	return slices.ContainsFunc(t.Details.Settings, func(name string) bool {
		_, ok := base.Value(name)
		return ok
	})
}

// DiscardsAll tells whether t may be DISCARD ALL rather than one of its lesser forms.
func (t *Text) DiscardsAll() bool {
	return t.Effects&EffectDiscard != 0 && (t.Details == nil || slices.Contains(t.Details.Words, "all"))
}

// GoesBack tells whether t sets a parameter back to its default.
func (t *Text) GoesBack(name string) bool {
	d := t.Details
	return d == nil || slices.Contains(d.Resets, name) || !d.SettingsKnown && slices.Contains(d.Words, "all")
}

// GoesBack tells whether one of the doubtful texts sets a parameter back to its default.
func (d *Doubts) GoesBack(name string) bool {
	return slices.ContainsFunc(d.Resets, func(t *Text) bool { return t.GoesBack(name) })
}
