package console

import "testing"

// What becomes of a client of the console is seen outside of its conversation too.
func TestLiveConsoleClients(t *testing.T) {
	t.Parallel()
	l := startLive(t)
	c := l.console("root")
	for _, step := range []struct{ command, name string }{
		{"SET application_name = 'night shift'", "night shift"},
		{"RESET application_name", "desk"},
	} {
		if _, err := c.Exec(t.Context(), step.command); err != nil {
			t.Fatal(err)
		}
		wantRow(t, the(t, l.show("clients"), "id", int64(c.PgConn().PID())), "application_name", step.name)
	}
	for range 20 { // it closes its connection behind its goodbye, which is a race
		before := l.front.Stat().Ends
		if err := l.console("looker").Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		l.eventually("it has ended", func() bool { return len(l.front.ConsoleClients()) == 3 })
		ends := l.front.Stat().Ends
		if ends["client_gone"] != before["client_gone"] || ends["client_terminated"] != before["client_terminated"]+1 {
			t.Fatalf("the ends are %v, before they were %v", ends, before)
		}
	}
}
