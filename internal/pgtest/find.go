package pgtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// binDirEnv names the variable by which a user chooses one of several installations.
const binDirEnv = "PGTEST_BINDIR"

// errNotFound tells what to do, since it is what a new developer sees first.
var errNotFound = errors.New("PostgreSQL's server (programs initdb and postgres) was not found: " +
	"install it, e.g. apt-get install postgresql, or set " + binDirEnv + " to the directory of its programs")

// Find returns the directory of PostgreSQL's server programs: PGTEST_BINDIR if that is set, else
// the directory in PATH that has them, else the newest installation where the packages of Linux
// distributions put it, else what pg_config says.
func Find() (bindir string, err error) {
	if dir := os.Getenv(binDirEnv); dir != "" {
		if !hasServer(dir) {
			return "", fmt.Errorf("%s is %s, which lacks initdb or postgres", binDirEnv, dir)
		}
		return dir, nil
	}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		if filepath.IsAbs(dir) && hasServer(dir) {
			return behindLinks(dir), nil
		}
	}
	if dir := newestInstalled(); dir != "" {
		return dir, nil
	}
	if out, err := exec.Command("pg_config", "--bindir").Output(); err == nil {
		if dir := strings.TrimSpace(string(out)); hasServer(dir) {
			return dir, nil
		}
	}
	return "", errNotFound
}

func newestInstalled() string {
	var dirs []string
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin",                      // Debian, Ubuntu
		"/usr/pgsql-*/bin",                               // PostgreSQL's own RPMs
		"/usr/lib/postgresql*/bin",                       // SUSE
		"/usr/libexec/postgresql*",                       // Alpine
		"/usr/local/pgsql/bin",                           // built from source
		"/home/linuxbrew/.linuxbrew/opt/postgresql*/bin", // Homebrew
	} {
		found, _ := filepath.Glob(pattern) // the only error is a malformed pattern
		dirs = append(dirs, found...)
	}
	dirs = slices.DeleteFunc(dirs, func(dir string) bool { return !hasServer(dir) })
	if len(dirs) == 0 {
		return ""
	}
	return slices.MaxFunc(dirs, func(a, b string) int { return majorIn(a) - majorIn(b) })
}

var digits = regexp.MustCompile(`[0-9]+`)

// majorIn is the major version that a path such as /usr/lib/postgresql/15/bin tells, else 0.
func majorIn(path string) int {
	n, _ := strconv.Atoi(digits.FindString(path)) // 0 for none is what we want
	return n
}

// behindLinks is where the programs in dir really are, with the clients beside them, when dir
// holds symbolic links to them.
func behindLinks(dir string) string {
	program, err := filepath.EvalSymlinks(filepath.Join(dir, "initdb"))
	if err != nil || !hasServer(filepath.Dir(program)) {
		return dir
	}
	return filepath.Dir(program)
}

func hasServer(dir string) bool {
	return isProgram(filepath.Join(dir, "initdb")) && isProgram(filepath.Join(dir, "postgres"))
}

func isProgram(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}
