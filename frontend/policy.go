package frontend

import (
	"strings"

	"pooler/config"
	"pooler/internal/sessionstate"
)

// policyEffects are the effects that leave state of each kind.
var policyEffects = [...]sessionstate.Effect{
	config.StateSettings:     sessionstate.EffectSettings,
	config.StateRole:         sessionstate.EffectRole,
	config.StatePrepare:      sessionstate.EffectPrepare,
	config.StateHoldCursor:   sessionstate.EffectHoldCursor,
	config.StateTemporary:    sessionstate.EffectTemp,
	config.StateAdvisoryLock: sessionstate.EffectAdvisoryLock,
	config.StateListen:       sessionstate.EffectListen,
	config.StateSequence:     sessionstate.EffectSequence,
	config.StateSeed:         sessionstate.EffectSeed,
	config.StateLoad:         sessionstate.EffectLoad,
	config.StateForeign:      sessionstate.EffectForeign,
}

// policyOf returns what a configuration says, nil if it says nothing special.
func policyOf(cfg config.StatePolicy) *sessionstate.Policy {
	if cfg == config.DefaultStatePolicy() {
		return nil
	}
	p := &sessionstate.Policy{}
	for kind, policy := range cfg {
		e := policyEffects[kind]
		switch policy {
		case config.PolicyError:
			p.Errors |= e
		case config.PolicyIgnore:
			p.Ignores |= e
		case config.PolicyDiscard:
			p.Discards |= sessionstate.PinSet(e)
		case config.PolicyPin:
			p.Pins |= sessionstate.PinSet(e)
		case config.PolicyCarry, config.PolicyInherit:
		}
	}
	return p
}

// refusedState is what a client is told whose statement is refused by policy; kinds is what the statement would leave.
func refusedState(kinds string) *Refusal {
	return &Refusal{
		Code:    codeFeatureNotSupported,
		Message: "this statement would leave state in the session, which the pooler is told to refuse: " + strings.ReplaceAll(kinds, "_", " "),
		Hint:    "The pooler's configuration says so: state_policy = \"error\" for this kind of state.",
	}
}
