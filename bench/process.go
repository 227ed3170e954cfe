package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a server that we started and that nobody but us ends.
type process struct {
	cmd     *exec.Cmd
	logPath string
	done    chan struct{} // closed once the process is gone
	waitErr error         // how it ended; read it only after done
}

func startProcess(t *target) (*process, error) {
	p := &process{logPath: filepath.Join(t.dir, t.name+".log"), done: make(chan struct{})}
	log, err := os.OpenFile(p.logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }() // the process has its own copy
	p.cmd = exec.Command(t.argv[0], t.argv[1:]...)
	p.cmd.Env = append(cleanEnv(), t.env...)
	p.cmd.Dir = t.dir
	p.cmd.Stdout, p.cmd.Stderr = log, log
	// Its own group, so that Ctrl-C reaches only us and we stop things in order; the death
	// signal is for the day we are killed ourselves.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, Credential: t.cred}
	started := make(chan error)
	go func() {
		// The kernel sends the death signal when the forking thread ends, so that one stays.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.waitErr = p.cmd.Wait()
			close(p.done)
		}
	}()
	return p, <-started
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// stop ends the process group: politely, and after stopTimeout by force.
func (p *process) stop() {
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		select {
		case <-p.done:
			return
		default:
		}
		if err := syscall.Kill(-p.pid(), signal); errors.Is(err, syscall.ESRCH) {
			return
		}
		select {
		case <-p.done:
			return
		case <-time.After(stopTimeout):
		}
	}
}

// tail is the end of the process's log, to put behind an error message.
func (p *process) tail() string {
	log, err := os.ReadFile(p.logPath)
	if log = bytes.TrimSpace(log); err != nil || len(log) == 0 {
		return ""
	}
	lines := bytes.Split(log, []byte("\n"))
	lines = lines[max(0, len(lines)-5):]
	return "\n  log: " + string(bytes.Join(lines, []byte("\n  log: ")))
}

// command is exec.CommandContext without the caller's PG* variables and with plain messages.
func command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = cleanEnv()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = time.Second
	return cmd
}

func cleanEnv() []string {
	env := []string{"LC_ALL=C"}
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "PG") && !strings.HasPrefix(kv, "LC_") {
			env = append(env, kv)
		}
	}
	return env
}

type tools struct{ pgbench, psql string }

func findTools(bindir string) (t tools, err error) {
	if t.pgbench, err = findTool(bindir, "pgbench"); err != nil {
		return t, err
	}
	t.psql, err = findTool(bindir, "psql")
	return t, err
}

// findTool prefers the server's own directory: what Debian has in PATH is a wrapper.
func findTool(bindir, name string) (string, error) {
	if path, err := exec.LookPath(filepath.Join(bindir, name)); err == nil {
		return path, nil
	}
	return exec.LookPath(name)
}

// unprivileged is who runs what refuses to run as root, or nil if we are not root.
func unprivileged() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			continue
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			continue
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("running as root, and neither user postgres nor nobody exists")
}

// freePort draws from below the range of outgoing connections, so that a port stays ours while
// its proxy restarts.
func freePort() (int, error) {
	var err error
	for range 20 {
		port := 16000 + rand.IntN(8000)
		var l net.Listener
		if l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			return port, l.Close()
		}
	}
	return 0, fmt.Errorf("find a free port: %w", err)
}
