package sessionstate

// Policy is what becomes of state, by the effects that leave it. nil carries what can be carried and keeps the rest.
type Policy struct {
	Errors   Effect // a text with one of these is refused
	Ignores  Effect // these are not seen
	Discards PinSet // these are discarded at a boundary
	Pins     PinSet // of what could be carried, these keep the server session all the same
}

// Seen returns t as the policy lets it be seen.
func (p *Policy) Seen(t *Text) *Text {
	if p == nil || t.Effects&p.Ignores == 0 {
		return t
	}
	return &Text{Effects: t.Effects &^ p.Ignores, Details: t.Details}
}

// Refuses tells which effects of t are refused.
func (p *Policy) Refuses(t *Text) Effect {
	if p == nil {
		return 0
	}
	return t.Effects & p.Errors
}

// Discarding and Pinning are the sets, which a nil policy has empty.
func (p *Policy) Discarding() PinSet {
	if p == nil {
		return 0
	}
	return p.Discards
}

// Pinning is Pins.
func (p *Policy) Pinning() PinSet {
	if p == nil {
		return 0
	}
	return p.Pins
}
