package console

import (
	"context"
	"slices"
	"strings"
)

const helpName = "help"

// syntaxes are the commands in the order in which SHOW HELP lists them.
var syntaxes = []struct{ command, rest, help string }{
	{"PAUSE", "[database]", "let running transactions end, then hold clients back and close idle server sessions"},
	{"RESUME", "[database]", "undo PAUSE and SUSPEND"},
	{"DISABLE", "database", "refuse new clients of a database"},
	{"ENABLE", "database", "undo DISABLE"},
	{"RECONNECT", "[database]", "replace each server session as soon as it is free"},
	{"KILL", "[database]", "end all clients and server sessions at once"},
	{"KILL_CLIENT", "id", "end one client"},
	{"KILL IDLE", "[OLDER THAN duration] [FROM address|network|unix] [APPLICATION name] [USER name] [DATABASE name] [DRY RUN]", "end idle clients"},
	{"SUSPEND", "", "stop relaying until RESUME"},
	{"WAIT_CLOSE", "[database]", "wait until what RECONNECT and RELOAD replace has ended"},
	{"RELOAD", "", "read the configuration again"},
	{"SHUTDOWN", "[WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS]", "end the pooler"},
	{"SET", "key = value", "change the configuration until RELOAD or a restart; SAVE keeps it"},
	{"START POOL", "[name]", "start a pool that was stopped"},
	{"STOP POOL", "[name] [DRAIN duration]", "stop a pool; with DRAIN its clients may finish first"},
	{"ALTER POOL", "name SET key = value [, ...] [SAVE]", "change a pool; with SAVE in the configuration file too"},
	{"RESTORE POOL", "name DEFAULTS [SAVE]", "take the defaults for what ALTER POOL can change"},
	{"SAVE", "", "write changes made here to the configuration file"},
}

const showClauses = " [columns] [WHERE condition] [ORDER BY columns] [LIMIT n] [OFFSET n]"

// syntaxOf is how a command is written, or what the commands that begin with that word are written like.
func syntaxOf(words string) string {
	words = strings.ToUpper(words)
	var lines []string
	for _, s := range syntaxes {
		if s.command == words {
			return joined(s.command, s.rest)
		}
		if strings.HasPrefix(s.command, words+" ") {
			lines = append(lines, joined(s.command, s.rest))
		}
	}
	return strings.Join(lines, "; ")
}

// isCommandWord says whether a command begins with the word, which is in upper case.
func isCommandWord(word string) bool {
	for _, s := range syntaxes {
		if first, _, _ := strings.Cut(s.command, " "); first == word {
			return true
		}
	}
	return false
}

// firstWords are the words that statements begin with, for suggestions.
func firstWords() []string {
	words := []string{"SHOW", "SELECT"}
	for _, s := range syntaxes {
		first, _, _ := strings.Cut(s.command, " ")
		words = append(words, first)
	}
	return words
}

// helpView lists views and commands.
func helpView(views []View) View {
	v := View{
		Name:    helpName,
		Columns: []Column{{"name", Text}, {"syntax", Text}, {"description", Text}},
		Help:    "this list",
	}
	var rows [][]any
	for _, s := range append(views[:len(views):len(views)], v) {
		name := "SHOW " + strings.ToUpper(s.Name)
		rows = append(rows, []any{name, name + showClauses, s.Help})
	}
	for _, s := range syntaxes {
		rows = append(rows, []any{s.command, joined(s.command, s.rest), s.help})
	}
	v.Rows = func(context.Context) ([][]any, error) {
		own := make([][]any, len(rows))
		for i, row := range rows {
			own[i] = slices.Clone(row)
		}
		return own, nil
	}
	return v
}

// usage is the text of the notice that SHOW HELP comes with, as PgBouncer's does.
func usage(views []View) string {
	names := make([]string, len(views))
	for i, v := range views {
		names[i] = strings.ToUpper(v.Name)
	}
	lines := []string{"", "  SHOW " + strings.Join(names, "|")}
	for _, s := range syntaxes {
		lines = append(lines, "  "+joined(s.command, s.rest))
	}
	return strings.Join(lines, "\n")
}
