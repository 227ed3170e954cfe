package pgtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

const (
	directoryPrefix = "pgtest-"

	// maxSocketPath is what fits into a sockaddr_un with its final NUL.
	maxSocketPath = 107

	// tailLimit bounds how much of a log goes into an error.
	tailLimit = 4 << 10
)

// directory is where one server keeps everything: data, log and socket. A locked file in it says
// that its owner is alive; the lock ends with the process, however that ends.
type directory struct {
	path    string
	lock    *os.File
	removed bool
}

func (d *directory) data() string { return filepath.Join(d.path, "data") }
func (d *directory) log() string  { return filepath.Join(d.path, "postgres.log") }

// newDirectory makes a directory for a server that runs as owner. On the way it removes those
// that killed processes left behind.
func newDirectory(owner account) (*directory, error) {
	root, err := directoryRoot(owner)
	if err != nil {
		return nil, err
	}
	removeOrphans(root, owner)
	path, err := os.MkdirTemp(root, directoryPrefix)
	if err != nil {
		return nil, fmt.Errorf("make a directory for PostgreSQL: %w", err)
	}
	d := &directory{path: path}
	if err := errors.Join(owner.own(path), d.lockOwner()); err != nil {
		return nil, errors.Join(fmt.Errorf("prepare %s: %w", path, err), d.remove())
	}
	return d, nil
}

// directoryRoot is the usual directory for temporary files, unless the server's account cannot
// get there or a socket's path in it would be too long.
func directoryRoot(owner account) (string, error) {
	var errs []error
	for _, root := range []string{os.TempDir(), "/tmp", "/var/tmp"} {
		sample := filepath.Join(root, directoryPrefix+"4294967295", ".s.PGSQL."+strconv.Itoa(lastPort))
		if len(sample) > maxSocketPath {
			errs = append(errs, fmt.Errorf("%s: too long for a socket in it", root))
			continue
		}
		if err := reachable(root, owner); err != nil {
			errs = append(errs, err)
			continue
		}
		return root, nil
	}
	return "", fmt.Errorf("find a directory for PostgreSQL: %w", errors.Join(errs...))
}

// reachable tells whether owner may pass through dir and all directories above it.
func reachable(dir string, owner account) error {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	for ; owner.switched; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		if info.Mode()&0o001 == 0 && uidOf(info) != owner.uid {
			return fmt.Errorf("%s: closed to the user that PostgreSQL runs as", dir)
		}
		if dir == filepath.Dir(dir) {
			break
		}
	}
	return nil
}

// lockOwner makes the file owner, locked from the first moment that it has this name.
func (d *directory) lockOwner() error {
	name := filepath.Join(d.path, "owner")
	f, err := os.OpenFile(name+".new", os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	d.lock = f
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return os.Rename(name+".new", name)
}

// removeOrphans removes the directories under root whose owners are gone. It is a courtesy: what
// cannot be removed stays.
func removeOrphans(root string, owner account) {
	paths, _ := filepath.Glob(filepath.Join(root, directoryPrefix+"*")) // the only error is a malformed pattern
	for _, path := range paths {
		info, err := os.Lstat(path)
		if err != nil || !info.IsDir() || uidOf(info) != owner.uid {
			continue
		}
		f, err := os.OpenFile(filepath.Join(path, "owner"), os.O_RDWR|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
		if err != nil {
			continue
		}
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			_ = os.RemoveAll(path)
		}
		_ = f.Close()
	}
}

// remove removes the directory and gives up the lock. Calling it twice does no harm.
func (d *directory) remove() error {
	if d.removed {
		return nil
	}
	d.removed = true
	err := os.RemoveAll(d.path)
	if d.lock != nil {
		err = errors.Join(err, d.lock.Close())
	}
	return err
}

// ready tells whether the postmaster pid says that it accepts connections. Its pid file begins
// with its process id, and the eighth line is its status.
func (d *directory) ready(pid int) bool {
	content, err := os.ReadFile(filepath.Join(d.data(), "postmaster.pid"))
	if err != nil {
		return false
	}
	lines := strings.Split(string(content), "\n")
	return len(lines) >= 8 && strings.TrimSpace(lines[0]) == strconv.Itoa(pid) && strings.TrimSpace(lines[7]) == "ready"
}

func (d *directory) logSize() int64 {
	info, err := os.Stat(d.log())
	if err != nil {
		return 0
	}
	return info.Size()
}

// logTail is the end of what the log got after offset.
func (d *directory) logTail(offset int64) string {
	f, err := os.Open(d.log())
	if err != nil {
		return err.Error()
	}
	defer func() { _ = f.Close() }() // read only
	offset = max(offset, d.logSize()-tailLimit)
	content, err := io.ReadAll(io.NewSectionReader(f, offset, tailLimit))
	if err != nil {
		return err.Error()
	}
	return string(bytes.TrimSpace(content))
}

func uidOf(info fs.FileInfo) int {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(stat.Uid)
	}
	return -1
}
