package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// StateKind is a kind of session state that a client can leave in its server session.
type StateKind uint8

// The kinds.
const (
	StateSettings StateKind = iota
	StateRole
	StatePrepare
	StateHoldCursor
	StateTemporary
	StateAdvisoryLock
	StateListen
	StateSequence
	StateSeed
	StateLoad
	StateForeign
	stateKinds
)

var stateKindNames = [stateKinds]string{
	"settings", "role", "prepare", "hold_cursor", "temporary", "advisory_lock", "listen", "sequence", "seed", "load", "foreign",
}

// Policy says what becomes of state of one kind when a server session could leave its client.
type Policy uint8

// The policies. Their zero value inherits the wider one.
const (
	PolicyInherit Policy = iota
	PolicyCarry          // it is put in force on whichever server session the client gets next
	PolicyPin            // the client keeps its server session until the state is gone
	PolicyDiscard        // it is discarded, and the client is told by a NOTICE
	PolicyError          // a statement that would leave it is refused
	PolicyIgnore         // nothing is done: the client may lose it, and others may see it
)

var policyNames = [...]string{"", "carry", "pin", "discard", "error", "ignore"}

func (p Policy) String() string { return policyNames[p] }

// StatePolicy is a policy for each kind of state.
type StatePolicy [stateKinds]Policy

// DefaultStatePolicy keeps everything for its client.
func DefaultStatePolicy() StatePolicy {
	var p StatePolicy
	for k := range p {
		p[k] = PolicyPin
		if StateKind(k).carries() {
			p[k] = PolicyCarry
		}
	}
	return p
}

// carries tells whether the pooler knows how to put state of this kind in force elsewhere.
func (k StateKind) carries() bool { return k <= StatePrepare }

// UnmarshalTOML implements toml.Unmarshaler.
func (p *StatePolicy) UnmarshalTOML(v any) error {
	table, ok := v.(map[string]any)
	if !ok {
		return fmt.Errorf(`want a table such as { listen = "error" }, got %s`, show(v))
	}
	for _, name := range slices.Sorted(maps.Keys(table)) {
		kind := slices.Index(stateKindNames[:], name)
		if kind < 0 {
			return fmt.Errorf("unknown kind of state %q; known are %s", name, strings.Join(stateKindNames[:], ", "))
		}
		policy, ok := table[name].(string)
		at := slices.Index(policyNames[:], policy)
		switch {
		case !ok, at <= 0:
			return fmt.Errorf("%s: want carry, pin, discard, error or ignore, got %s", name, show(table[name]))
		case Policy(at) == PolicyCarry && !StateKind(kind).carries():
			return fmt.Errorf("%s: cannot be carried to another server session; want pin, discard, error or ignore", name)
		}
		p[kind] = Policy(at)
	}
	return nil
}

// String shows what is not inherited.
func (p StatePolicy) String() string {
	var set []string
	for k, policy := range p {
		if policy != PolicyInherit {
			set = append(set, fmt.Sprintf("%s = %q", stateKindNames[k], policy))
		}
	}
	return "{ " + strings.Join(set, ", ") + " }"
}

// over returns p where it says something, else wider.
func (p StatePolicy) over(wider StatePolicy) StatePolicy {
	for k := range p {
		p[k] = orElse(p[k], wider[k])
	}
	return p
}
