package pgtest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

// outputDelay bounds the wait for the end of a log that children of a dead postmaster hold open.
const outputDelay = 2 * time.Second

// account is the user that PostgreSQL runs as. It refuses to run as root.
type account struct {
	uid, gid int
	switched bool // we are root and the account is another
}

func serverAccount() (account, error) {
	if os.Geteuid() != 0 {
		return account{uid: os.Geteuid(), gid: os.Getegid()}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.Atoi(u.Uid)
		gid, gidErr := strconv.Atoi(u.Gid)
		if err := errors.Join(uidErr, gidErr); err != nil {
			return account{}, fmt.Errorf("user %s: %w", name, err)
		}
		return account{uid: uid, gid: gid, switched: true}, nil
	}
	return account{}, errors.New("PostgreSQL does not run as root, and there is no user postgres or nobody to run it as")
}

// own gives path to the account.
func (a account) own(path string) error {
	if !a.switched {
		return nil
	}
	return os.Lchown(path, a.uid, a.gid)
}

func (a account) sysProcAttr(deathSignal syscall.Signal) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{
		// A Ctrl-C at the terminal is for us to handle, and not for the server.
		Setpgid:   true,
		Pdeathsig: deathSignal,
	}
	if a.switched {
		attr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
	}
	return attr
}

// process is a child that does not outlive us.
type process struct {
	pid  int
	done chan struct{} // closed when the process has ended
	cmd  *exec.Cmd
	err  error // of Wait; read only after done
}

// spawn starts the postmaster.
func (s *Server) spawn() (*process, error) {
	log, err := os.OpenFile(s.directory.log(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open PostgreSQL's log: %w", err)
	}
	cmd := exec.Command(filepath.Join(s.bindir, "postgres"), "-D", s.directory.data(), "-p", strconv.Itoa(s.Port))
	cmd.Dir = s.directory.path
	cmd.Env = environment()
	var output io.Writer = log
	if s.opts.Log != nil {
		output = io.MultiWriter(log, s.opts.Log)
		cmd.WaitDelay = outputDelay
	}
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = s.owner.sysProcAttr(syscall.SIGQUIT)
	return startProcess(cmd, log)
}

// startProcess starts cmd from a thread that stays until cmd has ended: the kernel sends the
// parent-death signal when the thread that forked ends, not the process.
// It closes output, if that is not nil, when cmd has ended.
func startProcess(cmd *exec.Cmd, output io.Closer) (*process, error) {
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
		}
		if output != nil {
			p.err = errors.Join(p.err, output.Close())
		}
		close(p.done)
	}()
	if err := <-started; err != nil {
		<-p.done
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	p.pid = cmd.Process.Pid
	return p, nil
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (p *process) endsWithin(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-p.done:
		return true
	case <-timer.C:
		return false
	}
}

// exitError tells how an ended process ended.
func (p *process) exitError() error {
	if p.err != nil {
		return p.err
	}
	return errors.New("exit status 0")
}

func (p *process) signal(sig syscall.Signal) error {
	err := p.cmd.Process.Signal(sig)
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}
