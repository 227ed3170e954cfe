// Package journal keeps what has happened to clients and server sessions: two bounded lists that anybody may read.
package journal

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

const (
	maxEvents         = 1_000
	maxEstablishments = 4_000
	maxString         = 200              // bytes
	alike             = 10 * time.Second // like events within that time are one entry
)

// Journal is the two lists. Any goroutine may use it, also a loop: its lock is held for less than a microsecond, but
// for whoever reads, who copies under it. A nil Journal keeps nothing.
type Journal struct {
	mu          sync.Mutex          // guards all below
	events      [kinds]ring[*Event] // by kind, so that a flood of one does not push out the others
	latest      map[likeness]*Event // the entry that the next like event may join
	counts      [kinds]uint64       // of events so far
	noted       uint64              // entries so far
	kept        int                 // of them
	steps       [actions]ring[step] // by action, likewise: anybody can have logins refused
	established uint64              // so many so far
	stepsKept   int                 // of them
}

// New returns an empty journal.
func New() *Journal { return &Journal{latest: map[likeness]*Event{}} }

// Note keeps an event. Time is now, unless it is given. When there is no room, the oldest goes of the kind that there is
// most of.
func (j *Journal) Note(e Event) {
	if j == nil {
		return
	}
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	e.shorten()
	e.Until, e.Count = e.Time, 1
	like := e.likeness()
	j.mu.Lock()
	defer j.mu.Unlock()
	j.counts[e.Kind]++
	if before := j.latest[like]; before != nil && e.Time.Sub(before.Time) < alike {
		before.join(&e)
		return
	}
	if j.kept == maxEvents {
		j.dropLocked()
	}
	j.noted++
	j.kept++
	e.Seq = j.noted
	j.latest[like] = &e
	j.events[e.Kind].push(&e)
}

// dropLocked makes room for one event.
func (j *Journal) dropLocked() {
	gone := longest(j.events[:]).pop()
	j.kept--
	if like := gone.likeness(); j.latest[like] == gone {
		delete(j.latest, like)
	}
}

// Events is what is kept of events, oldest first.
func (j *Journal) Events() []Event {
	if j == nil {
		return nil
	}
	all := make([]Event, 0, maxEvents) // before the lock, for which loops wait
	j.mu.Lock()
	for k := range j.events {
		of := &j.events[k]
		for i := range of.len {
			all = append(all, **of.at(i))
		}
	}
	j.mu.Unlock()
	slices.SortFunc(all, func(a, b Event) int { return cmp.Compare(a.Seq, b.Seq) })
	return all
}

// Counts is how many events of each kind there have been.
func (j *Journal) Counts() map[string]uint64 {
	counts := map[string]uint64{}
	if j == nil {
		return counts
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for k, n := range j.counts {
		counts[Kind(k).String()] = n
	}
	return counts
}

// Establish keeps a step in the life of a connection. Time is now, unless it is given. When there is no room, the oldest
// goes of the action that there is most of.
func (j *Journal) Establish(e Establishment) {
	if j == nil {
		return
	}
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	s := stepOf(&e)
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.stepsKept == maxEstablishments {
		longest(j.steps[:]).pop()
		j.stepsKept--
	}
	j.established++
	j.stepsKept++
	s.seq = j.established
	j.steps[e.Action].push(s)
}

// Establishments is what is kept of the lives of connections, oldest first.
func (j *Journal) Establishments() []Establishment {
	if j == nil {
		return nil
	}
	kept := make([]step, 0, maxEstablishments) // before the lock, for which loops wait
	j.mu.Lock()
	for a := range j.steps {
		kept = j.steps[a].appendTo(kept)
	}
	j.mu.Unlock()
	slices.SortFunc(kept, func(a, b step) int { return cmp.Compare(a.seq, b.seq) })
	all := make([]Establishment, len(kept))
	for i := range kept {
		all[i] = kept[i].establishment()
	}
	return all
}

// own is as much of s as is kept, in memory of its own: s may be part of a packet that is far larger.
func own(s string) string { return strings.Clone(cut(s)) }

// cut is s, or as much of it as is kept: whole runes.
func cut(s string) string {
	if len(s) <= maxString {
		return s
	}
	end := maxString
	for end > maxString-utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end--
	}
	if !utf8.RuneStart(s[end]) {
		end = maxString // it is no UTF-8
	}
	return s[:end]
}
