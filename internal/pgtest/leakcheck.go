package pgtest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// leakGrace is what goroutines that are already on their way out get before they count as
	// leaked; a clean run does not wait.
	leakGrace = 5 * time.Second
	leakPoll  = 10 * time.Millisecond
)

// Main is the body of a TestMain. It runs the tests, closes what they shared, and fails the run
// if a goroutine, a child process or a file descriptor is left that was not there before.
func Main(m interface{ Run() int }, shared ...io.Closer) {
	os.Exit(runChecked(m, os.Stderr, leakGrace, shared)) //nolint:forbidigo // TestMain has no other way to fail
}

func runChecked(m interface{ Run() int }, report io.Writer, grace time.Duration, shared []io.Closer) int {
	before, err := snapshot()
	if err != nil {
		fmt.Fprintln(report, "leak check:", err)
		return 1
	}
	code := m.Run()
	for _, c := range shared {
		if err := c.Close(); err != nil {
			fmt.Fprintln(report, "close what the tests shared:", err)
			code = max(code, 1)
		}
	}
	if code != 0 {
		return code // a test that stops half way leaves things behind; one fault at a time
	}
	if err := before.verify(grace); err != nil {
		fmt.Fprintf(report, "leak check: left over after the tests:\n%v\n", err)
		return 1
	}
	return 0
}

// resources is what a process holds at one moment.
type resources struct {
	goroutines map[int]string    // id to stack
	children   map[int]string    // process id to command
	files      map[string]string // "3 socket:[123]" to a description
}

// snapshot takes what is there before the tests.
func snapshot() (resources, error) {
	// The runtime opens its poller with the first socket and keeps it: that must come before.
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return resources{}, err
	}
	if err := l.Close(); err != nil {
		return resources{}, err
	}
	return current()
}

func current() (resources, error) {
	children, childErr := childProcesses()
	files, fileErr := openFiles()
	return resources{goroutines: goroutines(), children: children, files: files}, errors.Join(childErr, fileErr)
}

// verify waits up to grace until nothing is left that is not in before.
func (before resources) verify(grace time.Duration) error {
	deadline := time.NewTimer(grace)
	defer deadline.Stop()
	tick := time.NewTicker(leakPoll)
	defer tick.Stop()
	for {
		now, err := current()
		if err != nil {
			return err
		}
		err = before.leaked(now)
		if err == nil {
			return nil
		}
		select {
		case <-deadline.C:
			return err
		case <-tick.C:
		}
	}
}

// leaked lists what is in now only.
func (before resources) leaked(now resources) error {
	var errs []error
	for _, id := range added(before.goroutines, now.goroutines) {
		errs = append(errs, errors.New(now.goroutines[id]))
	}
	for _, pid := range added(before.children, now.children) {
		errs = append(errs, fmt.Errorf("child process %d: %s", pid, now.children[pid]))
	}
	for _, fd := range added(before.files, now.files) {
		errs = append(errs, fmt.Errorf("file descriptor %s", fd))
	}
	return errors.Join(errs...)
}

func added[K interface{ int | string }](before, now map[K]string) []K {
	var keys []K
	for k := range now {
		if _, ok := before[k]; !ok {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys
}

var goroutineHeader = regexp.MustCompile(`^goroutine (\d+) `)

// goroutines returns the stacks of all goroutines, save those that Go's own packages keep for
// the life of the process.
func goroutines() map[int]string {
	buf := make([]byte, 64<<10)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	stacks := map[int]string{}
	for stack := range strings.SplitSeq(string(buf), "\n\n") {
		header := goroutineHeader.FindStringSubmatch(stack)
		if header == nil || strings.Contains(stack, "os/signal.signal_recv") || strings.Contains(stack, "runtime.ensureSigM") {
			continue
		}
		id, err := strconv.Atoi(header[1])
		if err != nil {
			continue // cannot be: the pattern has digits only
		}
		stacks[id] = strings.TrimSpace(stack)
	}
	return stacks
}

// childProcesses finds our children by the parent that each process in /proc names. One that is
// a zombie counts: nobody waited for it.
func childProcesses() (map[int]string, error) {
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	self := strconv.Itoa(os.Getpid())
	children := map[int]string{}
	for _, path := range paths {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended meanwhile
		}
		// 123 (name) S parent …; the name may hold spaces and parentheses.
		head, tail, _ := strings.Cut(string(stat), " (")
		end := strings.LastIndex(tail, ") ")
		if end < 0 {
			continue
		}
		name, fields := tail[:end], strings.Fields(tail[end+2:])
		pid, err := strconv.Atoi(head)
		if err == nil && len(fields) > 1 && fields[1] == self {
			children[pid] = name + " (state " + fields[0] + ")"
		}
	}
	return children, nil
}

// openFiles lists our descriptors with what each is. A number that is open on something else
// than before is a new file.
func openFiles() (map[string]string, error) {
	const dir = "/proc/self/fd"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	files := map[string]string{}
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join(dir, e.Name()))
		if err != nil {
			continue // the descriptor that read the directory
		}
		files[e.Name()+" "+target] = target
	}
	return files, nil
}
