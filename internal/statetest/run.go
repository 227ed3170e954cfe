// Package statetest compares sessions through the pooler with direct ones. Random scripts of many clients, who share
// few server sessions, are played step by step on each client and on its twin, which is connected directly; what they
// are told and what their sessions hold must be equal. The package is a black box: it knows two DSNs of one database.
package statetest

import (
	"context"
	"time"
)

// Options say what to play, and where.
type Options struct {
	Direct  string // DSN of the database that Setup has prepared
	Through string // the same database through the pooler
	Seed    uint64
	Steps   int // to generate

	Clients    int           // default 20
	Sessions   int           // server sessions of the pooler, default 3
	CheckEvery int           // on average one step in so many is followed by a Check, default 5
	StepLimit  time.Duration // default 10 s
	Without    []string      // kinds of steps not to generate; see Kinds
}

func (o Options) complete() Options {
	orElse(&o.Clients, 20)
	orElse(&o.Sessions, 3)
	orElse(&o.CheckEvery, 5)
	orElse(&o.StepLimit, defaultStepLimit)
	return o
}

func orElse[T int | time.Duration](v *T, otherwise T) {
	if *v == 0 {
		*v = otherwise
	}
}

// Run generates and plays a script. It returns nil if all clients were always like their twins.
func Run(ctx context.Context, opts Options) *Failure {
	t := newTwins(opts.complete())
	defer t.close()
	g := newGenerator(t)
	for len(t.played) < opts.Steps && ctx.Err() == nil {
		for _, s := range g.next() {
			if f := t.play(ctx, s); f != nil {
				return f
			}
		}
	}
	return t.farewell(ctx)
}

// Replay plays a script.
func Replay(ctx context.Context, opts Options, script Script) *Failure {
	t := newTwins(opts.complete())
	defer t.close()
	for _, s := range script {
		if f := t.play(ctx, s); f != nil {
			return f
		}
	}
	return t.farewell(ctx)
}

// farewell checks all clients once more before they leave.
func (t *twins) farewell(ctx context.Context) *Failure {
	for id := range t.opts.Clients {
		c := t.clients[id]
		if c == nil || !c.connected() {
			continue
		}
		last := []Step{{Client: id, Verb: Check}, {Client: id, Verb: Leave}}
		if c.inTransaction() {
			last = append([]Step{{Client: id, Verb: Query, Text: "ROLLBACK"}}, last...)
		}
		for _, s := range last {
			if f := t.play(ctx, s); f != nil {
				return f
			}
		}
	}
	return nil
}
