package journal

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"
	"unsafe"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// event is one at so many seconds after noon.
func event(seconds int, kind Kind, reason, user string) Event {
	return Event{Time: noon.Add(time.Duration(seconds) * time.Second), Kind: kind, Reason: reason, User: user}
}

func TestLikeEventsAreOne(t *testing.T) {
	j := New()
	first := event(0, Reaped, "reaped", "a")
	first.Client, first.Detail = 1, "first"
	last := event(9, Reaped, "reaped", "a")
	last.Client, last.Detail = 4, "last"
	for _, e := range []Event{
		first, event(1, Reaped, "reaped", "b"), event(2, Killed, "reaped", "a"), event(3, Reaped, "other", "a"),
		event(5, Reaped, "reaped", "a"), last, event(10, Reaped, "reaped", "a"), event(19, Reaped, "reaped", "a"),
	} {
		j.Note(e)
	}
	var got []string
	for _, e := range j.Events() {
		got = append(got, fmt.Sprintf("%d %s-%s %d× %s %s %s %d %s", e.Seq, e.Time.Format("05"), e.Until.Format("05"), e.Count, e.Kind, e.Reason, e.User, e.Client, e.Detail))
	}
	want := []string{
		"1 00-09 3× reaped reaped a 4 last", "2 01-01 1× reaped reaped b 0 ", "3 02-02 1× killed reaped a 0 ",
		"4 03-03 1× reaped other a 0 ", "5 10-19 2× reaped reaped a 0 ",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// A flood of one kind pushes out its own past only, and what is kept is bounded.
func TestFloodOfOneKindLeavesTheOthers(t *testing.T) {
	j := New()
	for i := range 100 {
		j.Note(event(i*20, Killed, "killed", "a"))
	}
	for i := range 100_000 {
		j.Note(event(i, LimitReached, "max_user_client_connections", fmt.Sprint(i)))
	}
	of := map[Kind]int{}
	var before uint64
	for _, e := range j.Events() {
		of[e.Kind]++
		if e.Seq <= before {
			t.Fatalf("number %d comes behind %d", e.Seq, before)
		}
		before = e.Seq
	}
	if c := j.Counts(); c["killed"] != 100 || c["limit_reached"] != 100_000 || c["reaped"] != 0 || len(c) != len(Kinds()) {
		t.Errorf("counts: %v", c)
	}
	if of[Killed] != 100 || of[LimitReached] != maxEvents-100 || before != 100_100 {
		t.Errorf("%v are left, the last is number %d", of, before)
	}
	if len(j.latest) > maxEvents {
		t.Errorf("%d likenesses are kept", len(j.latest))
	}
}

func TestEstablishmentsAreBounded(t *testing.T) {
	j := New()
	const many = 2*maxEstablishments + 7
	for i := range many {
		j.Establish(Establishment{Action: Connect, Client: uint64(i + 1)})
	}
	all := j.Establishments()
	if len(all) != maxEstablishments {
		t.Fatalf("%d are kept", len(all))
	}
	for i, e := range all {
		if want := uint64(many - maxEstablishments + i + 1); e.Seq != want || e.Client != want || e.Time.IsZero() {
			t.Fatalf("number %d is %+v", i, e)
		}
	}
}

// Anybody can have as many connections refused as they like: that must not push out what became of the others.
func TestFloodOfRefusalsLeavesTheOtherEstablishments(t *testing.T) {
	j := New()
	for i := range uint64(1_000) {
		j.Establish(Establishment{Action: Action(i % 3), Client: i + 1})
	}
	for range 10 * maxEstablishments {
		j.Establish(Establishment{Action: Refuse, Cause: "malformed"})
	}
	j.Establish(Establishment{Action: Close, Client: 7})
	all := j.Establishments()
	of := [actions]int{}
	for i, e := range all {
		of[e.Action]++
		if i < 1_000 && (e.Seq != e.Client || e.Client != uint64(i+1) || e.Action != Action(i%3)) || i > 0 && e.Seq <= all[i-1].Seq {
			t.Fatalf("entry %d is %+v", i, e)
		}
	}
	if of != [actions]int{334, 333, 334, maxEstablishments - 1_001} || all[len(all)-1].Seq != 10*maxEstablishments+1_001 {
		t.Errorf("%v are kept, the last is %+v", of, all[len(all)-1])
	}
}

// What is kept must not keep the packet alive that it came in.
func TestStringsHaveMemoryOfTheirOwn(t *testing.T) {
	if n := unsafe.Sizeof(step{}); n > 72 {
		t.Errorf("a step takes %d bytes", n)
	}
	packet := strings.Repeat("p", 16<<10)
	begin := uintptr(unsafe.Pointer(unsafe.StringData(packet)))
	short, long := packet[100:110], packet[1_000:2_000]
	for _, s := range []string{short, long} {
		j := New()
		j.Note(Event{Reason: s, Address: s, Application: s, User: s, Database: s, Detail: "x"})
		j.Note(Event{Reason: s, Address: s, Application: s, User: s, Database: s, Detail: s}) // joins it
		j.Establish(Establishment{Address: s, Application: s, User: s, Database: s, Cause: s})
		e, c := j.Events()[0], j.Establishments()[0]
		for i, kept := range []string{
			e.Reason, e.Address, e.Application, e.User, e.Database, e.Detail, c.Address, c.Application, c.User, c.Database, c.Cause,
		} {
			if at := uintptr(unsafe.Pointer(unsafe.StringData(kept))); at >= begin && at < begin+uintptr(len(packet)) {
				t.Errorf("string %d of %d bytes is part of the packet", i, len(kept))
			}
		}
		for like := range j.latest {
			if at := uintptr(unsafe.Pointer(unsafe.StringData(like.user))); at >= begin && at < begin+uintptr(len(packet)) {
				t.Error("the likeness is part of the packet")
			}
		}
	}
	runtime.KeepAlive(packet)
}

// Memory grows only as things come.
func TestEmptyJournalIsSmall(t *testing.T) {
	j := New()
	j.Establish(Establishment{})
	j.Note(Event{})
	if n := len(j.steps[Connect].items); n > smallest {
		t.Errorf("room for %d", n)
	}
	var r ring[int]
	for i := range 1000 {
		r.push(i)
	}
	for i := range 990 {
		if got := r.pop(); got != i {
			t.Fatalf("got %d, want %d", got, i)
		}
	}
	if len(r.items) > 64 || fmt.Sprint(r.appendTo(nil)) != "[990 991 992 993 994 995 996 997 998 999]" {
		t.Errorf("%d places, %v", len(r.items), r.appendTo(nil))
	}
}

func TestNilJournal(t *testing.T) {
	var j *Journal
	j.Note(Event{})
	j.Establish(Establishment{})
	if j.Events() != nil || j.Establishments() != nil {
		t.Error("it keeps something")
	}
}

func TestStringsAreCut(t *testing.T) {
	for name, c := range map[string]struct{ s, want string }{
		"short":        {"ä", "ä"},
		"just":         {strings.Repeat("a", 200), strings.Repeat("a", 200)},
		"long":         {strings.Repeat("a", 201), strings.Repeat("a", 200)},
		"inside ä":     {strings.Repeat("a", 199) + "ä", strings.Repeat("a", 199)},
		"inside 😀":     {strings.Repeat("a", 197) + "😀", strings.Repeat("a", 197)},
		"behind 😀":     {strings.Repeat("a", 196) + "😀b", strings.Repeat("a", 196) + "😀"},
		"no UTF-8":     {strings.Repeat("\x80", 300), strings.Repeat("\x80", 200)},
		"nothing left": {"", ""},
	} {
		if got := cut(c.s); got != c.want || utf8.ValidString(c.s) != utf8.ValidString(got) {
			t.Errorf("%s: got %d bytes, want %d", name, len(got), len(c.want))
		}
	}
	long := strings.Repeat("x", 1_000)
	j := New()
	j.Note(Event{Reason: long, Address: long, Application: long, User: long, Database: long, Detail: long})
	j.Establish(Establishment{Address: long, Application: long, User: long, Database: long, Cause: long})
	e, c := j.Events()[0], j.Establishments()[0]
	for i, s := range []string{
		e.Reason, e.Address, e.Application, e.User, e.Database, e.Detail, c.Address, c.Application, c.User, c.Database, c.Cause,
	} {
		if len(s) != maxString {
			t.Errorf("string %d has %d bytes", i, len(s))
		}
	}
}

func TestManyUseItAtOnce(t *testing.T) {
	j := New()
	var working sync.WaitGroup
	const each = 3_000
	for g := range 4 {
		working.Go(func() {
			for i := range each {
				j.Note(Event{Kind: Kind(i % int(kinds)), User: fmt.Sprint(g, i/100)})
				j.Establish(Establishment{Client: uint64(i)})
				if i%500 == 0 {
					for _, e := range j.Events() {
						if e.Count == 0 || e.Until.Before(e.Time) {
							t.Errorf("%+v", e)
						}
					}
					j.Establishments()
				}
			}
		})
	}
	working.Wait()
	n := 0
	for _, e := range j.Events() {
		n += e.Count
	}
	if n > 4*each || j.established != 4*each {
		t.Errorf("%d events, %d establishments", n, j.established)
	}
}

func TestNames(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range Kinds() {
		if name := k.String(); name == "" || seen[name] {
			t.Errorf("kind %d is called %q", k, name)
		} else {
			seen[name] = true
		}
	}
	if fmt.Sprint(Connect, Reuse, Close, Refuse, Client, Server) != "connect reuse close refuse client server" {
		t.Error(Connect, Reuse, Close, Refuse, Client, Server)
	}
}

func BenchmarkNote(b *testing.B) {
	j := New()
	for b.Loop() {
		j.Note(Event{Kind: ServerRetired, Reason: "idle", User: "alice", Database: "shop", Detail: "It was closed."})
	}
}

func BenchmarkEstablish(b *testing.B) {
	j := New()
	for b.Loop() {
		j.Establish(Establishment{Action: Connect, Application: "shop", User: "alice"})
	}
}
