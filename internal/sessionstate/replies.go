package sessionstate

// Kind is the kind of request whose reply is owed.
type Kind uint8

// The kinds of request. KindQuery, KindCall and KindSync are answered by ReadyForQuery at their end.
const (
	KindQuery    Kind = iota // Query
	KindCall                 // FunctionCall
	KindSync                 // Sync
	KindParse                // Parse
	KindBind                 // Bind
	KindDescribe             // Describe
	KindExecute              // Execute
	KindClose                // Close
	KindCopyEnd              // CopyDone or CopyFail: has no reply of its own, only marks where COPY input ends
)

func (k Kind) endsWithReady() bool { return k <= KindSync }

// Action says what becomes of the answer to a request.
type Action uint8

// The actions.
const (
	Forward     Action = iota // the client asked: it gets the answer
	Swallow                   // the pooler asked for itself: nobody gets the answer
	SwallowDone               // the pooler asked on the client's behalf: only an error is the client's
	Invent                    // nothing was sent to the server: the pooler answers, in its turn
	Replace                   // an error was provoked on the server, and the client is told the true one instead
	Ignore                    // nobody gets the answer, nor the error: the client that asked has gone, or either will do
	Ask                       // the pooler asked what the session holds: it looks into the answer
	Hook                      // the pooler called on_get or on_release: it wants to know whether that worked
)

// Entry is one reply owed.
type Entry struct {
	Kind   Kind
	Action Action
	Name   string     // Parse, Close: the client's name for the statement; AllNames for what may end them all
	Stmt   *Statement // Parse, Close: the statement that the request defines or ends
	Own    string     // Bind, Describe: the client's name for the statement, where it has several for the same
	Refuse Refusal    // Replace: what the client is told
	Failed bool       // among the dropped: it is the one that failed, not one skipped after it
	Shared bool       // Parse of a statement under the client's own name for it, besides the pooler's
	Mark   uint32     // what changes the unnamed statement, numbered by the client's session; 0: nothing to take back
	Loose  bool       // Query, Parse of the unnamed statement: it may be refused before PostgreSQL looks into it
}

// AllNames marks a request that may end every name of a statement: DEALLOCATE, DISCARD.
const AllNames = "*"

// Refusal is an error of ours that stands in for one provoked on the server.
type Refusal uint8

// The refusals.
const (
	RefuseDuplicate Refusal = iota // 42P05: the client already has a statement of that name
	RefuseTooMany                  // 53400: the client has as many statements as the pooler keeps for one
	RefuseState                    // 0A000: it would leave state that is not to be left (Entry.Name)
	RefuseMissing                  // 26000: the client has no statement of that name, or no unnamed one
)

// Outcome says what to do with a message of the server.
type Outcome uint8

// The outcomes.
const (
	Pass       Outcome = iota // the client's
	Drop                      // nobody's
	Substitute                // an error for the client, but another one (Entry.Refuse)
	Failed                    // nobody's, and a request that the pooler itself made has failed
	Desync                    // not owed: the conn cannot be trusted any more
)

// Replies knows what the server still owes, oldest first, and what is to be done with each answer. It does no I/O and
// reads no clock, so tests and fuzzers drive it with messages alone. It belongs to the loop that owns the conn, hence
// no lock; messages themselves are never kept.
type Replies struct {
	owed     []Entry // from head on
	head     int
	named    int     // owed entries with a Name
	dropped  []Entry // requests that the server has skipped since TakeDropped, oldest first
	open     bool    // extended messages were sent behind the last Sync or Query
	skipping bool    // the server discards everything up to a Sync that has not been sent yet
	copyIn   bool    // the server reads COPY data and ignores Sync
	settled  uint32  // counts what has been answered
	unsynced bool    // extended messages were sent behind the last Sync, perhaps in front of a Query
	syncs    uint32  // counts Syncs
}

// Push notes that a request was sent, or is to be answered in its turn (Invent).
func (r *Replies) Push(e Entry) {
	switch {
	case r.skipping && e.Kind != KindSync:
		if e.Kind != KindCopyEnd {
			r.dropped = append(r.dropped, e)
		}
		return
	case e.Kind == KindCopyEnd && r.Len() == 0:
		return // late end of a COPY that has failed: the server ignores it
	case e.Kind == KindSync && r.copyIn && !r.copyEndOwed():
		return // ignored by a server that reads COPY data
	}
	if e.Kind.endsWithReady() {
		r.open, r.skipping = false, false
	} else if e.Kind != KindCopyEnd {
		r.open, r.unsynced = true, true
	}
	if e.Kind == KindSync {
		r.unsynced = false
		r.syncs++
	}
	if r.head > len(r.owed)/2 || r.head == len(r.owed) { // else a pipeline that never ends grows it without end
		kept := copy(r.owed, r.owed[r.head:])
		clear(r.owed[kept:])
		r.owed, r.head = r.owed[:kept], 0
	}
	r.owed = append(r.owed, e)
	if e.tellsNames() {
		r.named++
	}
}

// tellsNames tells whether what a name means to the client depends on the answer.
func (e *Entry) tellsNames() bool { return e.Name != "" && (!e.Shared || e.Action == Forward) }

// Settle takes note of one message of the server, by its type, and says whose it is. e is the request it answers,
// where it answers one.
func (r *Replies) Settle(typ byte) (o Outcome, e Entry) {
	if r.head == len(r.owed) {
		return r.unasked(typ), Entry{}
	}
	e = r.owed[r.head]
	switch typ {
	case 'A':
		return Pass, e // a notification answers nothing: it is the client's even while the pooler asks for itself
	case 'D', 'd', 'T', 't', 'H', 'V', 'N', 'S', 'c':
		if typ == 'T' && e.Kind == KindDescribe {
			r.pop()
		}
	case 'n':
		return r.expect(KindDescribe)
	case '1':
		return r.expect(KindParse)
	case '2':
		return r.expect(KindBind)
	case '3':
		return r.expect(KindClose)
	case 'C', 's', 'I':
		if e.Kind == KindExecute {
			r.copyIn = false
			r.pop()
		} else if e.Kind != KindQuery {
			return Desync, e
		}
	case 'G':
		r.beginCopyIn()
	case 'E':
		return r.fail(e)
	case 'Z':
		if !e.Kind.endsWithReady() {
			return Desync, e
		}
		r.copyIn = false
		r.pop()
		if e.Action == Replace { // the error went before it
			return Pass, e
		}
	default:
		return Desync, e
	}
	return outcomes[e.Action], e
}

// outcomes: an answer that is no error, by the action of the request it answers.
var outcomes = [...]Outcome{Forward: Pass, Swallow: Drop, SwallowDone: Drop, Invent: Desync, Replace: Desync, Ignore: Drop, Ask: Drop, Hook: Drop}

// unasked judges what a server may say while nothing is owed.
func (r *Replies) unasked(typ byte) Outcome {
	switch typ {
	case 'N', 'S', 'A', 'E':
		return Pass
	case 'Z':
		// A Sync sent into a COPY that had just failed: counted as ignored, answered all the same.
		if r.open || r.skipping {
			r.open, r.skipping = false, false
			return Pass
		}
	}
	return Desync
}

func (r *Replies) expect(k Kind) (Outcome, Entry) {
	e := r.owed[r.head]
	if e.Kind != k {
		return Desync, e
	}
	r.pop()
	return outcomes[e.Action], e
}

func (r *Replies) fail(e Entry) (Outcome, Entry) {
	r.copyIn = false
	if !e.Kind.endsWithReady() {
		r.skip()
	}
	switch e.Action {
	case Swallow:
		return Failed, e
	case Replace:
		return Substitute, e
	case Ignore, Ask, Hook:
		return Drop, e
	case Forward, SwallowDone, Invent:
	}
	return Pass, e
}

// skip drops what the server skips after an error in the extended protocol: everything up to the next Sync.
func (r *Replies) skip() {
	r.owed[r.head].Failed = true
	for r.head < len(r.owed) && r.owed[r.head].Kind != KindSync {
		if e := r.owed[r.head]; e.Kind != KindCopyEnd {
			r.dropped = append(r.dropped, e)
		}
		r.advance()
	}
	if r.head == len(r.owed) {
		r.skipping, r.open = true, true
	}
}

// beginCopyIn: the server now ignores Sync up to CopyDone or CopyFail, so those already sent before it owe nothing
// (CopyGetData in PostgreSQL's copyfromparse.c).
func (r *Replies) beginCopyIn() {
	r.copyIn, r.unsynced = true, true
	kept := r.head + 1
	for i := kept; i < len(r.owed); i++ {
		if r.owed[i].Kind == KindCopyEnd {
			kept += copy(r.owed[kept:], r.owed[i:])
			break
		}
		if r.owed[i].Kind != KindSync {
			r.owed[kept] = r.owed[i]
			kept++
		}
	}
	r.owed = r.owed[:kept]
	for kept > r.head+1 && r.owed[kept-1].Kind == KindCopyEnd {
		kept--
	}
	r.open = !r.owed[kept-1].Kind.endsWithReady()
}

func (r *Replies) copyEndOwed() bool {
	for _, e := range r.owed[r.head:] {
		if e.Kind == KindCopyEnd {
			return true
		}
	}
	return false
}

// pop ends the oldest entry, and with it the marks of a COPY that it may have been.
func (r *Replies) pop() {
	r.advance()
	for r.head < len(r.owed) && r.owed[r.head].Kind == KindCopyEnd {
		r.advance()
	}
}

func (r *Replies) advance() {
	if r.owed[r.head].tellsNames() {
		r.named--
	}
	r.owed[r.head] = Entry{} // let go of what it names
	r.head++
	r.settled++
}

// MaySkip tells whether a request that is sent now may be skipped: something is unanswered behind the last Sync.
func (r *Replies) MaySkip() bool { return r.skipping || r.unsynced && r.Len() > 0 }

// Syncs counts those that were sent.
func (r *Replies) Syncs() uint32 { return r.syncs }

// Owes tells whether the request with this mark is unanswered.
func (r *Replies) Owes(mark uint32) bool {
	for _, e := range r.owed[r.head:] {
		if e.Mark == mark {
			return true
		}
	}
	return false
}

// MarkBehind is that of the oldest unanswered request that has one, other than this mark, or 0. A Query that has
// failed is unanswered until ReadyForQuery.
func (r *Replies) MarkBehind(mark uint32) uint32 {
	for _, e := range r.owed[r.head:] {
		if e.Mark != 0 && e.Mark != mark {
			return e.Mark
		}
	}
	return 0
}

// Undecided tells whether the request with this mark, the youngest that has one, is unanswered, and whether what is
// sent now may have another fate: behind a Sync it runs even if that one is skipped, and behind a Query even if it fails.
func (r *Replies) Undecided(mark uint32) (owed, alone bool) {
	for i := len(r.owed) - 1; i >= r.head; i-- {
		e := &r.owed[i]
		if e.Mark != 0 {
			return e.Mark == mark, alone || e.Kind == KindQuery
		}
		alone = alone || e.Kind == KindSync
	}
	return false, false
}

// NoteUnread is told the SQLSTATE with which the request e has failed. If PostgreSQL could not read it, nothing has
// come of it, as if it had been skipped.
func (r *Replies) NoteUnread(e Entry, code []byte) {
	if !e.Loose {
		return
	}
	switch string(code) {
	case "08P01", "22021", "22P05": // protocol_violation, character_not_in_repertoire, untranslatable_character
	default:
		return
	}
	if e.Kind == KindQuery {
		r.dropped = append(r.dropped, e)
		return
	}
	for i := range r.dropped {
		r.dropped[i].Failed = r.dropped[i].Failed && r.dropped[i].Mark != e.Mark
	}
}

// NextInvented returns and ends the oldest entry if it is the pooler's turn to answer it.
func (r *Replies) NextInvented() (Entry, bool) {
	if r.head == len(r.owed) || r.owed[r.head].Action != Invent {
		return Entry{}, false
	}
	e := r.owed[r.head]
	r.pop()
	return e, true
}

// RowsPass tells whether rows and COPY data that come now are the client's: what Settle would say of them.
func (r *Replies) RowsPass() bool {
	return r.head < len(r.owed) && r.owed[r.head].Action == Forward
}

// Len is how many replies are owed.
func (r *Replies) Len() int { return len(r.owed) - r.head }

// OwesClient tells whether any of the answers owed is the client's.
func (r *Replies) OwesClient() bool {
	for _, e := range r.owed[r.head:] {
		if e.Action != Swallow && e.Action != Ignore && e.Action != Hook {
			return true
		}
	}
	return false
}

// Idle tells whether the server owes nothing and is not in the middle of a sequence that wants a Sync.
func (r *Replies) Idle() bool { return r.head == len(r.owed) && !r.open && !r.copyIn }

// NamesOpen tells whether a sequence that has been sent whole, up to its Sync, defines or ends names of statements:
// what they will mean to the next sequence depends on its answers.
func (r *Replies) NamesOpen() bool {
	if r.named == 0 {
		return false
	}
	found := false
	for _, e := range r.owed[r.head:] {
		found = found || e.tellsNames()
		if found && e.Kind.endsWithReady() {
			return true
		}
	}
	return false
}

// NeedsSync tells whether only a Sync would bring the server back to ReadyForQuery.
func (r *Replies) NeedsSync() bool { return r.open || r.skipping }

// InCopy tells whether the server reads COPY data whose end has not been sent.
func (r *Replies) InCopy() bool { return r.copyIn && !r.copyEndOwed() }

// Settled counts the requests that have been answered: while it does not change, the same runs.
func (r *Replies) Settled() uint32 { return r.settled }

// AwaitsClient tells whether the server does nothing until the client goes on: with its COPY data, or with a sequence
// whose Sync it has not sent. Answers to that may be owed: the server keeps them back unless it was asked to flush.
func (r *Replies) AwaitsClient(flushed bool) bool {
	switch {
	case r.InCopy():
		return true
	case !r.NeedsSync(), flushed && r.Len() > 0:
		return false
	}
	for _, e := range r.owed[r.head:] {
		if e.Kind.endsWithReady() {
			return false
		}
	}
	return true
}

// HasDropped tells whether TakeDropped has something to say.
func (r *Replies) HasDropped() bool { return len(r.dropped) > 0 }

// EachParse calls f for each Parse whose answer is owed.
func (r *Replies) EachParse(f func(Entry)) {
	for _, e := range r.owed[r.head:] {
		if e.Kind == KindParse && e.Stmt != nil {
			f(e)
		}
	}
}

// Dropped is for how many requests TakeDropped would call undo.
func (r *Replies) Dropped() int { return len(r.dropped) }

// IgnoreNext turns the oldest answer owed into nobody's.
func (r *Replies) IgnoreNext() { r.owed[r.head].Action = Ignore }

// TakeDropped calls undo for each request that the server skipped, youngest first.
func (r *Replies) TakeDropped(undo func(Entry)) {
	for i := len(r.dropped) - 1; i >= 0; i-- {
		undo(r.dropped[i])
		r.dropped[i] = Entry{}
	}
	r.dropped = r.dropped[:0]
}

// Disown turns every answer still owed to a client that has gone into nobody's. Those that the server was never
// asked for are owed no more.
func (r *Replies) Disown() {
	kept := r.head
	for _, e := range r.owed[r.head:] {
		if e.Action != Invent {
			e.Action, e.Name = Ignore, ""
			r.owed[kept] = e
			kept++
		}
	}
	r.owed, r.named = r.owed[:kept], 0
}
