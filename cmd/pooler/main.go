// Command pooler is an implicit connection pooler for PostgreSQL: many long-lived clients share few server sessions.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
)

const usage = `pooler lets many PostgreSQL clients share few server sessions.

  pooler serve --config FILE   serve clients (default file: pooler.toml)
  pooler check --config FILE   check the configuration and say what is wrong with it
  pooler demo [--workload]     a private throwaway PostgreSQL with the pooler in front of it
  pooler conform ...           compare a pooler, this or another, with direct connections
  pooler version               print the version

Each takes --help.
`

// errUsage ends the program with status 2; what is wrong has been said.
var errUsage = errors.New("usage")

func main() {
	err := run(os.Args[1:])
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "pooler:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		fmt.Fprint(os.Stderr, usage)
		return errUsage
	}
	switch command, rest := args[0], args[1:]; command {
	case "serve":
		return serve(rest)
	case "check":
		return check(rest)
	case "demo":
		return demo(rest)
	case "conform":
		return conformance(rest)
	case "version", "--version", "-v":
		printVersion()
		return nil
	case "help", "--help", "-h":
		fmt.Print(usage)
		return nil
	default:
		fmt.Fprintf(os.Stderr, "pooler: there is no command %q\n\n%s", command, usage)
		return errUsage
	}
}

// flags parses a command's flags; anything that is left over is a mistake.
func flags(set *flag.FlagSet, args []string) error {
	if err := set.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return errUsage
	}
	if set.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "pooler %s: %q is one word too many\n", set.Name(), set.Arg(0))
		return errUsage
	}
	return nil
}
