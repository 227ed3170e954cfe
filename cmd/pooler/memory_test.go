package main

import (
	"runtime"
	"testing"
	"time"
)

// Memory is traded for time while there is a lot to collect, and given back when that is over.
func TestKeeper(t *testing.T) {
	var k keeper
	now := time.Now()
	cycles, accepted := uint64(0), uint64(0)
	for _, step := range []struct {
		name             string
		seconds          int
		cycles, accepted uint64 // more each second
		garbage          int
		trims            int
	}{
		{name: "at rest", seconds: 5, cycles: 1, garbage: garbageAtRest},
		{name: "a storm of logins", seconds: 1, cycles: 2, accepted: 2 * trimAfter, garbage: garbageAtRest},
		{name: "it is over", seconds: 3, garbage: garbageAtRest, trims: 1},
		{name: "views each second", seconds: 30, cycles: busyCycles, garbage: garbageBusy},
		{name: "nobody looks any more", seconds: 18, garbage: garbageBusy},
		{name: "calm", seconds: 5, garbage: garbageAtRest, trims: 1},
	} {
		trims, garbage := 0, 0
		for range step.seconds {
			now = now.Add(time.Second)
			cycles, accepted = cycles+step.cycles, accepted+step.accepted
			var trim bool
			if garbage, trim = k.look(now, cycles, accepted); trim {
				trims++
			}
		}
		if garbage != step.garbage || trims != step.trims {
			t.Errorf("%s: %d %% of garbage, %d trims; want %d and %d", step.name, garbage, trims, step.garbage, step.trims)
		}
	}
	if runtime.GC(); collections() == 0 {
		t.Error("collections are not counted")
	}
}
