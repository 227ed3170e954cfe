package conform

import (
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// op is what a step does.
type op uint8

const (
	opSQL      op = iota // run text, by the row's protocol; with args always by the extended one
	opParse              // prepare text as a protocol-level statement
	opBind               // run a protocol-level statement
	opClose              // close it
	opTold               // what the server reported last about a parameter
	opReceived           // the notifications so far whose payload is text
	opAwait              // wait for one without asking for anything
	opDirect             // run text on the direct connection, as somebody who does not use the pool
)

// step is one thing that a client does and whose answer it remembers. In name, text and args, "~" stands for a name and
// "~key" for a number that nobody else uses.
type step struct {
	op    op
	name  string
	text  string
	args  []string
	title string // for people, where the text says too much
}

// script is steps in their order.
type script []step

func sql(texts ...string) script {
	s := make(script, len(texts))
	for i, text := range texts {
		s[i] = step{op: opSQL, text: text}
	}
	return s
}

// titled is one statement by the name of what it asks for.
func titled(title, text string) script { return script{{op: opSQL, text: text, title: title}} }

func bound(text string, args ...string) script { return script{{op: opSQL, text: text, args: args}} }

func parse(name, text string) script { return script{{op: opParse, name: name, text: text}} }

func bind(name string, args ...string) script { return script{{op: opBind, name: name, args: args}} }
func closing(name string) script              { return script{{op: opClose, name: name}} }
func told(name string) script                 { return script{{op: opTold, name: name}} }
func received(payload string) script          { return script{{op: opReceived, text: payload}} }
func await(payload string) script             { return script{{op: opAwait, text: payload}} }
func direct(text string) script               { return script{{op: opDirect, text: text}} }

func (s script) then(more ...script) script {
	all := append(script{}, s...)
	for _, m := range more {
		all = append(all, m...)
	}
	return all
}

// what names the step for people.
func (s step) what() string {
	if s.title != "" {
		return s.title
	}
	switch s.op {
	case opParse:
		return "Parse " + strconv.Quote(s.name)
	case opBind:
		return "Bind " + strconv.Quote(s.name)
	case opClose:
		return "Close " + strconv.Quote(s.name)
	case opTold:
		return "reported " + s.name
	case opReceived, opAwait:
		return "notification"
	default:
		return s.text
	}
}

// messages is the step in the extended protocol, without its Sync.
func (s step) messages() []pgproto3.FrontendMessage {
	args := make([][]byte, len(s.args))
	for i, a := range s.args {
		args[i] = []byte(a)
	}
	run := func(name string) []pgproto3.FrontendMessage {
		return []pgproto3.FrontendMessage{
			&pgproto3.Bind{PreparedStatement: name, Parameters: args},
			&pgproto3.Describe{ObjectType: 'P'},
			&pgproto3.Execute{},
		}
	}
	switch s.op {
	case opParse:
		return []pgproto3.FrontendMessage{&pgproto3.Parse{Name: s.name, Query: s.text}}
	case opBind:
		return run(s.name)
	case opClose:
		return []pgproto3.FrontendMessage{&pgproto3.Close{ObjectType: 'S', Name: s.name}}
	default:
		return append([]pgproto3.FrontendMessage{&pgproto3.Parse{Query: s.text}}, run("")...)
	}
}

// perform does one step and returns its answer.
func (c *client) perform(s step, p Protocol, admin *admin) string {
	switch s.op {
	case opTold:
		return row([][]byte{[]byte(c.told[s.name])})
	case opReceived:
		return c.received(s.text)
	case opAwait:
		return c.await(s.text)
	case opDirect:
		return admin.query(s.text)
	default:
		if s.op == opSQL && len(s.args) == 0 && p == Simple {
			return c.query(s.text)
		}
		return c.ask(ready, append(s.messages(), &pgproto3.Sync{})...)
	}
}

// pipeline sends all steps at once with a failing statement behind them.
func (c *client) pipeline(steps script, p Protocol) string {
	const failing = "SELECT 1/0"
	if p == Simple {
		return c.query(joined(steps) + failing)
	}
	steps = steps.then(sql(failing))
	return c.ask(ready, append(flat(steps), &pgproto3.Sync{})...)
}

// leaveBusy does the steps in a request that it does not bring to its end.
func (c *client) leaveBusy(steps script, p Protocol) string {
	if p == Extended {
		messages := append(flat(steps), &pgproto3.Flush{})
		return c.ask(completions(count(messages)), messages...)
	}
	if err := c.send(&pgproto3.Query{String: joined(steps) + "SELECT pg_sleep(0.2)"}); err != nil {
		return c.die(err, nil)
	}
	time.Sleep(busyPause) //nolint:forbidigo // nothing comes back that could be waited for
	return "sent"
}

func joined(steps script) string {
	var b strings.Builder
	for _, s := range steps {
		b.WriteString(s.text + "; ")
	}
	return b.String()
}

func flat(steps script) []pgproto3.FrontendMessage {
	var all []pgproto3.FrontendMessage
	for _, s := range steps {
		all = append(all, s.messages()...)
	}
	return all
}

// count is how many messages among these are answered by what completions counts.
func count(messages []pgproto3.FrontendMessage) int {
	n := 0
	for _, m := range messages {
		switch m.(type) {
		case *pgproto3.Parse, *pgproto3.Execute, *pgproto3.Close:
			n++
		}
	}
	return n
}
