package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"syscall"

	"pooler/internal/conform"
)

const conformIntro = `Find out what a pooler, this or any other, does to the state of sessions: play every kind of state on direct connections
and through the pooler, and compare. "kept" is whether the client that made the state finds it as a direct client would,
after another one has worked; "told" that it is gone and the server's own SQLSTATE says so. "leaked" is whether the other
client, or a newcomer, sees any of it. "waited" in a note is a client that got no answer until another one had left.

Give the pooler a pool of one server session, that tells most. The tool makes what it needs in the database and drops it
again, and it ends the server sessions that a failing row has soiled: use a pool that serves nobody else. The superuser
plays all rows.

  pooler conform --direct postgres://app@db:5432/test --through postgres://app@pooler:6432/test

Ends with 0 when every row is kept and not leaked, 1 when not, 2 when it could not compare.

`

// conformOptions is what the flags say.
type conformOptions struct {
	conform.Options
	list, json, markdown, verbose bool
}

// errNotConform ends the program with status 1; the table has said why.
var errNotConform = errors.New("the pooler does not do as a direct connection does")

// conformance compares a pooler with a direct connection.
func conformance(args []string) error {
	o, err := conformFlags(args)
	if err != nil {
		return err
	}
	if o.list {
		for _, c := range conform.Cases(o.Only) {
			fmt.Println(c)
		}
		return nil
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	report, err := conform.Run(ctx, o.Options, o.progress)
	if report != nil {
		err = errors.Join(err, o.write(os.Stdout, report))
	}
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "pooler conform:", err)
		return errUsage
	case !report.OK():
		return errNotConform
	}
	return nil
}

func conformFlags(args []string) (conformOptions, error) {
	var o conformOptions
	var only string
	set := flag.NewFlagSet("conform", flag.ContinueOnError)
	set.StringVar(&o.Direct, "direct", "", "`DSN` of PostgreSQL itself; objects are made and dropped there")
	set.StringVar(&o.Through, "through", "", "`DSN` of the same database through the pooler")
	set.DurationVar(&o.Patience, "patience", conform.DefaultPatience, "`time` after which a client without an answer counts as waiting for another")
	set.DurationVar(&o.Timeout, "timeout", conform.DefaultTimeout, "`time` for each step, after which it counts as hung")
	set.StringVar(&only, "only", "", "play the rows that match `regexp`, see --list")
	set.BoolVar(&o.list, "list", false, "list the rows and end")
	set.BoolVar(&o.json, "json", false, "write JSON, every row by itself")
	set.BoolVar(&o.markdown, "markdown", false, "write a table for a document")
	set.BoolVar(&o.verbose, "verbose", false, "say on standard error what each row was, as it ends")
	set.Usage = func() {
		fmt.Fprint(set.Output(), conformIntro)
		set.PrintDefaults()
	}
	if err := flags(set, args); err != nil {
		return o, err
	}
	if err := o.complete(only); err != nil {
		fmt.Fprintln(os.Stderr, "pooler conform:", err)
		return o, errUsage
	}
	return o, nil
}

// complete finds what the flags' types leave open.
func (o *conformOptions) complete(only string) (err error) {
	if o.Only, err = regexp.Compile(only); err != nil {
		return fmt.Errorf("--only: %w", err)
	}
	switch {
	case len(conform.Cases(o.Only)) == 0:
		return fmt.Errorf("--only: no row matches %q", only)
	case o.list:
		return nil
	case o.Direct == "" || o.Through == "":
		return errors.New("--direct and --through: both are needed")
	case o.Patience <= 0 || o.Timeout <= 0:
		return errors.New("--patience and --timeout: want more than 0")
	case o.json && o.markdown:
		return errors.New("--json and --markdown: want one of them")
	}
	return nil
}

func (o *conformOptions) progress(r conform.Result) {
	if o.verbose {
		fmt.Fprintf(os.Stderr, "%s: kept %s, leaked %s %s\n", r.Case, r.Kept, r.Leaked, r.Note)
	}
}

func (o *conformOptions) write(w io.Writer, r *conform.Report) error {
	switch {
	case o.json:
		return r.JSON(w)
	case o.markdown:
		return r.Markdown(w)
	default:
		return r.Table(w)
	}
}
