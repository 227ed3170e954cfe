package sessionstate

import "testing"

func TestVerdict(t *testing.T) {
	free := Facts{Idle: true, Status: 'I'}
	for _, tc := range []struct {
		name   string
		change func(*Facts)
		want   Verdict
	}{
		{"nothing owed, nothing left: goes back", func(*Facts) {}, Release},
		{"a reply is owed", func(f *Facts) { f.Idle = false }, Keep},
		{"in a transaction", func(f *Facts) { f.Status = 'T' }, Keep},
		{"in a failed transaction", func(f *Facts) { f.Status = 'E' }, Keep},
		{"a cancel is under way", func(f *Facts) { f.Fenced = true }, Keep},
		{"the client has sent more", func(f *Facts) { f.More = true }, Keep},
		{"state is left", func(f *Facts) { f.Pins = PinSet(EffectTemp) }, Keep},
		{"state is left, at a transaction boundary", func(f *Facts) { f.Pins, f.Boundary = PinSet(EffectTemp), BoundaryTransaction }, Clean},
		{"in a transaction, at a transaction boundary", func(f *Facts) { f.Status, f.Boundary = 'T', BoundaryTransaction }, Keep},
		{"what is left is not known", func(f *Facts) { f.Doubts = true }, Audit},
		{"what is left is not known, in a transaction", func(f *Facts) { f.Doubts, f.Status = true, 'T' }, Keep},
		{"state of a kind that is discarded", func(f *Facts) { f.Pins, f.Discards = PinSet(EffectTemp), PinSet(EffectTemp) }, Clean},
		{"state of several kinds, one discarded", func(f *Facts) { f.Pins, f.Discards = PinSet(EffectTemp|EffectListen), PinSet(EffectTemp) }, Keep},
		{"session boundary", func(f *Facts) { f.Boundary = BoundarySession }, Keep},
		{"tainted", func(f *Facts) { f.Tainted = true }, Retire},
		{"tainted, but a transaction is open", func(f *Facts) { f.Tainted, f.Status = true, 'T' }, Keep},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := free
			tc.change(&f)
			if got := Decide(f); got != tc.want {
				t.Errorf("got %d, want %d", got, tc.want)
			}
		})
	}
}

func TestPinsEndWithTheCommandThatEndsTheirState(t *testing.T) {
	all := PinSet(EffectTemp | EffectSequence | EffectPrepare | EffectHoldCursor | EffectSettings | EffectSeed)
	for _, tc := range []struct {
		tag  string
		want PinSet
	}{
		{"DISCARD ALL", PinSet(EffectSeed)},
		{"DISCARD TEMP", all &^ PinSet(EffectTemp)},
		{"DISCARD SEQUENCES", all &^ PinSet(EffectSequence)},
		{"DEALLOCATE ALL", all &^ PinSet(EffectPrepare)},
		{"CLOSE CURSOR ALL", all &^ PinSet(EffectHoldCursor)},
		{"DISCARD PLANS", all},
		{"SELECT 1", all},
	} {
		if got := all.AfterTag(tc.tag); got != tc.want {
			t.Errorf("%s leaves %q, want %q", tc.tag, got, tc.want)
		}
	}
}

func TestEveryPinHasAName(t *testing.T) {
	for _, n := range pinNames {
		if got := n.pin.String(); got != n.name {
			t.Errorf("%q is called %q", n.name, got)
		}
	}
	for e := Effect(1); e < 1<<20; e <<= 1 {
		if p := PinsOf(e); p != 0 && p.String() == "" {
			t.Errorf("effect %s pins without a reason that can be read", e)
		}
	}
}
