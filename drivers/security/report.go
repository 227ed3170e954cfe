package main

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const (
	cannotLogIn = "FATAL: the pooler cannot log in to PostgreSQL for this user"
	badPassword = "FATAL: password authentication failed for user "
)

// exception is a difference between PostgreSQL and the pooler that is meant, and why.
type exception struct {
	why  string
	fits func(a answer) bool
}

func exceptions() []exception {
	scramLine := func(a answer) bool { return a.via.line == "scram-sha-256" }
	asksPassword := func(a answer) bool { return a.via.line != "trust" && a.via.name != "cert" }
	return []exception{
		{
			"PostgreSQL has an MD5 secret of this user, and its line for the pooler wants SCRAM: the refusal is PostgreSQL's",
			func(a answer) bool {
				return a.method.md5 && a.want.OK && !a.got.OK && scramLine(a) && a.via.on != "md5"
			},
		},
		{
			"auth_file has the password itself, with which SCRAM works; PostgreSQL has only its MD5",
			func(a answer) bool { return a.method.name == "m_scram_of_md5" && !a.via.pass && a.got.OK },
		},
		{
			"auth_file has the password of a user who has none in PostgreSQL, or whose password has expired there, and PostgreSQL's line for the pooler asks for none",
			func(a answer) bool {
				return (strings.HasPrefix(a.method.name, "m_expired") || a.method.role == "PASSWORD NULL") && !a.via.pass && a.got.OK && !asksPassword(a)
			},
		},
		{
			"the client has shown nothing with which the pooler could log in, it knows no password either, and PostgreSQL wants one",
			func(a answer) bool {
				shows := a.try.password != "" && !a.method.md5
				return (a.via.pass || a.method.role == "absent") && !shows && asksPassword(a) && strings.Contains(a.got.Message, cannotLogIn)
			},
		},
		{
			"PostgreSQL's OpenSSL sends its CA's certificate with its own, the pooler what client_tls_cert_file holds: a client that trusts neither says so in other words",
			func(a answer) bool {
				return a.try.badRoot && !a.want.OK && !a.got.OK && a.want.Code == "" && a.got.Code == ""
			},
		},
		{
			"auth_query finds no role that may not log in, so it is refused as one that does not exist",
			func(a answer) bool {
				return a.method.role == "NOLOGIN" && a.via.pass && a.try == right && strings.Contains(a.got.Message, badPassword+`"m_no_login"`)
			},
		},
	}
}

// excuse is why an answer may differ, "" if it does not or may not.
func excuse(a answer) string {
	if a.got == a.want {
		return ""
	}
	for _, e := range exceptions() {
		if e.fits(a) {
			return e.why
		}
	}
	return ""
}

var (
	viaName   = regexp.MustCompile(viaPrefix + `\w+`)
	blanks    = regexp.MustCompile(`\s+`)
	pgxPrefix = regexp.MustCompile("^failed to connect to `[^`]*`: ")
)

// neutral is a message without what must differ: ports, directories, the names of databases.
func neutral(message string, at place) string {
	message = strings.ReplaceAll(message, at.socket, "DIR")
	message = strings.ReplaceAll(message, strconv.Itoa(at.port), "PORT")
	message = viaName.ReplaceAllString(message, commonDatabase)
	message = pgxPrefix.ReplaceAllString(message, "")
	return strings.TrimSpace(blanks.ReplaceAllString(message, " "))
}

// report prints the counts and what differs, and returns how many differ without a reason.
func report(w io.Writer, answers []answer, o options) (differences int) {
	slices.SortStableFunc(answers, func(a, b answer) int { return strings.Compare(a.driver, b.driver) })
	if o.all || o.pooler == "" {
		for _, a := range answers {
			fmt.Fprintf(w, "%-60s %s\n", a, a.got)
		}
	}
	for _, a := range answers {
		if a.got != a.want && a.reason == "" {
			differences++
			fmt.Fprintf(w, "%s\n    directly    %s\n    pooled      %s\n", a, a.want, a.got)
		}
	}
	printCounts(w, answers)
	return differences
}

type count struct{ asked, works, refused, meant, differ int }

func (c *count) add(a answer) {
	c.asked++
	switch {
	case a.got == a.want && a.got.OK:
		c.works++
	case a.got == a.want:
		c.refused++
	case a.reason != "":
		c.meant++
	default:
		c.differ++
	}
}

func printCounts(w io.Writer, answers []answer) {
	byDriver, byWay, byReason := map[string]*count{}, map[string]*count{}, map[string]int{}
	var drivers, ways []string
	for _, a := range answers {
		way := "PostgreSQL alone"
		if a.via != nil {
			way = a.via.name
		}
		if byDriver[a.driver] == nil {
			drivers, byDriver[a.driver] = append(drivers, a.driver), &count{}
		}
		if byWay[way] == nil {
			ways, byWay[way] = append(ways, way), &count{}
		}
		byDriver[a.driver].add(a)
		byWay[way].add(a)
		if a.reason != "" {
			byReason[a.reason]++
		}
	}
	printTable(w, "driver", drivers, byDriver)
	printTable(w, "to the server by", ways, byWay)
	for _, e := range exceptions() {
		if n := byReason[e.why]; n > 0 {
			fmt.Fprintf(w, "%5d differ as meant: %s\n", n, e.why)
		}
	}
}

func printTable(w io.Writer, title string, names []string, counts map[string]*count) {
	fmt.Fprintf(w, "%-18s %7s %7s %9s %7s %7s\n", title, "logins", "work", "refused", "meant", "differ")
	for _, name := range names {
		c := counts[name]
		fmt.Fprintf(w, "%-18s %7d %7d %9d %7d %7d\n", name, c.asked, c.works, c.refused, c.meant, c.differ)
	}
}
