package main

import (
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// How much garbage there may be for what lives, in percent (GOGC). At rest memory counts: what lives is many small idle
// objects, and almost nothing is allocated while relaying. While a lot is allocated, by views of thousands of clients
// that somebody looks at each second or by a storm of logins, time counts: a collection takes the same however much it finds.
const (
	garbageAtRest = 50
	garbageBusy   = 200
)

const (
	busyCycles = 3                // collections in a second
	calmAfter  = 20 * time.Second // without such a second
)

// trimAfter is how many clients must have come for memory to be trimmed once no more do.
const trimAfter = 500

// keeper watches over memory. It gives it back to the system when it has become calm, or when many clients have come
// and no more do: what they took is garbage, which the collector, for lack of new allocations, would leave there.
type keeper struct {
	cycles    uint64 // collections so far
	busyUntil time.Time
	busy      bool

	accepted, trimmed uint64 // clients so far: at the last look, when memory was given back
}

func tuneMemory() { debug.SetGCPercent(garbageAtRest) }

// look is called once a second. It says how much garbage there may be, and whether memory is to be given back.
func (k *keeper) look(now time.Time, cycles, accepted uint64) (garbage int, trim bool) {
	if cycles-k.cycles >= busyCycles {
		k.busyUntil = now.Add(calmAfter)
	}
	wasBusy := k.busy
	k.busy = now.Before(k.busyUntil)
	trim = wasBusy && !k.busy || accepted == k.accepted && accepted-k.trimmed >= trimAfter
	if trim {
		k.trimmed = accepted
	}
	k.cycles, k.accepted = cycles, accepted
	if k.busy {
		return garbageBusy, trim
	}
	return garbageAtRest, trim
}

// trim looks after memory until the instance stops.
func (in *instance) trim() {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	var k keeper
	inForce := garbageAtRest
	for {
		select {
		case <-in.stopping:
			return
		case now := <-t.C:
			garbage, trim := k.look(now, collections(), in.front.Stat().Accepted)
			if garbage != inForce {
				debug.SetGCPercent(garbage)
				inForce = garbage
			}
			if trim {
				debug.FreeOSMemory()
			}
		}
	}
}

func collections() uint64 {
	sample := []metrics.Sample{{Name: "/gc/cycles/total:gc-cycles"}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return sample[0].Value.Uint64()
}
