package sessionstate

import (
	"fmt"
	"strings"
	"testing"
)

// play drives Replies with a script: "Q" and the like push what a client sends (Q Query, F call, S Sync, P Parse,
// B Bind, D Describe, E Execute, C Close, c CopyDone); "<x" settles the server's message x; "!Q" pushes a request of
// the pooler's own, "+P" one on the client's behalf, "~P" an invented answer, "?P" a provoked error. It returns what
// became of each message of the server, and how it ended.
func play(t testing.TB, script string) string {
	t.Helper()
	kinds := map[byte]Kind{
		'Q': KindQuery, 'F': KindCall, 'S': KindSync, 'P': KindParse, 'B': KindBind, 'D': KindDescribe,
		'E': KindExecute, 'C': KindClose, 'c': KindCopyEnd,
	}
	outcomes := [...]string{Pass: "pass", Drop: "drop", Substitute: "substitute", Failed: "failed", Desync: "desync"}
	var r Replies
	var said []string
	for _, w := range strings.Fields(script) {
		if w[0] == '<' {
			o, _ := r.Settle(w[1])
			said = append(said, outcomes[o])
		} else {
			e := Entry{Kind: kinds[w[len(w)-1]]}
			if len(w) == 2 {
				e.Action = map[byte]Action{'!': Swallow, '+': SwallowDone, '~': Invent, '?': Replace}[w[0]]
			}
			r.Push(e)
		}
		for {
			e, ok := r.NextInvented()
			if !ok {
				break
			}
			said = append(said, fmt.Sprintf("invent-%d", e.Kind))
		}
	}
	r.TakeDropped(func(e Entry) { said = append(said, fmt.Sprintf("undo-%d", e.Kind)) })
	if r.Idle() {
		said = append(said, "idle")
	}
	return strings.Join(said, " ")
}

func TestReplies(t *testing.T) {
	for _, tc := range []struct{ name, script, want string }{
		{"a simple query is settled by ReadyForQuery", "Q <T <D <C <Z", "pass pass pass pass idle"},
		{"and not before", "Q <T <D <C", "pass pass pass"},
		{"an extended query", "P B D E S <1 <2 <T <D <C <Z", "pass pass pass pass pass pass idle"},
		{"describing a statement gives t before T or n", "D S <t <T <Z", "pass pass pass idle"},
		{"flushed answers do not end the sequence", "P B E <1 <2 <C", "pass pass pass"},
		{"two Syncs in flight owe two", "S S <Z", "pass"},
		{"an error skips to Sync", "P B E S <E <Z", "pass pass undo-6 undo-4 undo-3 idle"},
		{"an error skips what is sent later, too", "P <E B E S <Z", "pass pass undo-6 undo-4 undo-3 idle"},
		{"a Query is skipped as well", "P <E Q S <Z", "pass pass undo-0 undo-3 idle"},
		{"the next sequence is not", "P S P S <E <Z <1 <Z", "pass pass pass pass undo-3 idle"},
		{"an error in a simple query skips nothing", "Q Q <E <Z <C <Z", "pass pass pass pass idle"},
		{"an error at Sync, of a deferred constraint", "P B E S <1 <2 <C <E <Z", "pass pass pass pass pass idle"},
		{"portal suspended ends Execute", "E S <D <s <Z", "pass pass pass idle"},
		{"an empty query", "B E S <2 <I <Z", "pass pass pass idle"},
		{"a function call", "F <V <Z", "pass pass idle"},
		{"the pooler's own request is nobody's", "!Q Q <T <D <C <S <Z <C <Z", "drop drop drop drop drop pass pass idle"},
		{"and its failure is told", "!Q Q <E", "failed"},
		{"a Parse on the client's behalf is nobody's", "+P B E S <1 <2 <C <Z", "drop pass pass pass idle"},
		{"but its error is the client's", "+P B E S <E <Z", "pass pass undo-6 undo-4 undo-3 idle"},
		{"an invented answer comes in its turn", "P ~P B S <1 <2 <Z", "pass invent-3 pass pass idle"},
		{"at once when nothing is before it", "~C S <Z", "invent-7 pass idle"},
		{"never after an error before it", "P ~C S <E <Z", "pass pass undo-7 undo-3 idle"},
		{"a provoked error is told in other words", "?P B S <E <Z", "substitute pass undo-4 undo-3 idle"},
		{"a provoked error that does not come", "?P S <1", "desync"},
		{"COPY in by simple query", "Q <G c <C <Z", "pass pass pass idle"},
		{"COPY in that fails, its end sent late", "Q <G <E <Z c", "pass pass pass idle"},
		{"a Sync sent before COPY's end is ignored", "E S <G c S <C <Z", "pass pass pass idle"},
		{"whether before or after the server says so", "E <G S c S <C <Z", "pass pass pass idle"},
		{"COPY and its end sent in one go", "P B E c S <1 <2 <G <C <Z", "pass pass pass pass pass idle"},
		{"COPY out", "Q <H <d <d <c <C <Z", "pass pass pass pass pass pass idle"},
		{"notices and parameters at any time", "<N <S <A Q <N <S <A <C <Z", "pass pass pass pass pass pass pass pass idle"},
		{"FATAL while idle", "<E", "pass idle"},
		{"a row that nobody asked for", "<D", "desync idle"},
		{"ReadyForQuery that nobody asked for", "<Z", "desync idle"},
		{"the wrong completion", "P S <2", "desync"},
		{"an unknown message", "Q <y", "desync"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := play(t, tc.script); got != tc.want {
				t.Errorf("%s: got %q, want %q", tc.script, got, tc.want)
			}
		})
	}
}

func TestADisownedRequestFailsSilently(t *testing.T) {
	var r Replies
	r.Push(Entry{Kind: KindQuery})
	r.Disown()
	for _, typ := range []byte("TDEZ") {
		if o, _ := r.Settle(typ); o != Drop {
			t.Errorf("%c: outcome %d, want Drop", typ, o)
		}
	}
	if !r.Idle() {
		t.Error("not idle at the end")
	}
}

// FuzzReplies: never idle while ReadyForQuery is owed to an unskipped Query or Sync, and never a panic.
func FuzzReplies(f *testing.F) {
	f.Add([]byte("PBDES\x801\x802\x80T\x80C\x80Z"))
	f.Add([]byte("EcS\x80G\x80C\x80Z"))
	kinds := []Kind{KindQuery, KindCall, KindSync, KindParse, KindBind, KindDescribe, KindExecute, KindClose, KindCopyEnd}
	f.Fuzz(func(t *testing.T, script []byte) {
		var r Replies
		owed, copying, failed := 0, false, false
		for i := 0; i < len(script); i++ {
			if script[i] == 0x80 && i+1 < len(script) {
				i++
				o, _ := r.Settle(script[i])
				copying = copying || script[i] == 'G'
				failed = failed || script[i] == 'E' || o == Desync
				if script[i] == 'Z' && o != Desync {
					owed--
				}
				continue
			}
			e := Entry{Kind: kinds[int(script[i])%len(kinds)], Action: Action(int(script[i]) / len(kinds) % 5)}
			if e.Kind.endsWithReady() {
				if e.Action == Invent {
					continue // the pooler never invents those
				}
				owed++
			}
			r.Push(e)
			for ok := true; ok; {
				_, ok = r.NextInvented()
			}
		}
		if !copying && !failed && owed > 0 && r.Idle() {
			t.Fatalf("idle, though %d ReadyForQuery are owed", owed)
		}
		r.TakeDropped(func(Entry) {})
	})
}

func TestRepliesAllocateNothing(t *testing.T) {
	var r Replies
	once := func() {
		for _, k := range []Kind{KindParse, KindBind, KindDescribe, KindExecute, KindSync} {
			r.Push(Entry{Kind: k})
		}
		for _, typ := range []byte("12TDCZ") {
			r.Settle(typ)
		}
	}
	once()
	if n := testing.AllocsPerRun(100, once); n != 0 {
		t.Errorf("%v allocations per exchange, want 0", n)
	}
}

func BenchmarkReplies(b *testing.B) {
	var r Replies
	for b.Loop() {
		for _, k := range []Kind{KindParse, KindBind, KindDescribe, KindExecute, KindSync} {
			r.Push(Entry{Kind: k})
		}
		for _, typ := range []byte("12TDCZ") {
			r.Settle(typ)
		}
	}
}

func TestANotificationIsTheClientsWhoeverAsked(t *testing.T) {
	for _, a := range []Action{Forward, Swallow, SwallowDone, Ask, Ignore} {
		var r Replies
		r.Push(Entry{Kind: KindQuery, Action: a})
		if o, _ := r.Settle('A'); o != Pass {
			t.Errorf("action %d: outcome %d, want Pass", a, o)
		}
		if r.Len() != 1 {
			t.Errorf("action %d: the notification has answered the request", a)
		}
	}
}
