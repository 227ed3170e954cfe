package pgtest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	// templateLayout changes when the arguments of initdb or the layout of the cache do.
	templateLayout = "2"

	// abandonedAfter is the age at which a half-written template is nobody's any more.
	abandonedAfter = time.Hour
)

// fillDataDir makes the data directory: a copy of the template if there is a sound one, else
// initdb's work, which then becomes the template.
func (s *Server) fillDataDir(ctx context.Context, cache templateCache) (fromTemplate bool, err error) {
	data := s.directory.data()
	fromTemplate = cache.copyTo(data, s.owner) == nil
	if !fromTemplate {
		// A copy may have stopped half way: the template was missing, stale or just removed.
		if err := os.RemoveAll(data); err != nil {
			return false, err
		}
		if err := initdb(ctx, s.bindir, data, s.owner, s.directory.path); err != nil {
			return false, err
		}
		// Without a template the next server takes a second longer; no reason to fail.
		_ = cache.save(data)
	}
	return fromTemplate, s.configure()
}

// initdb makes a data directory. C.UTF-8 is not known everywhere.
func initdb(ctx context.Context, bindir, data string, owner account, workDir string) error {
	var errs []error
	for _, locale := range []string{"C.UTF-8", "C"} {
		var output bytes.Buffer
		cmd := exec.CommandContext(ctx, filepath.Join(bindir, "initdb"), "-D", data, "-U", Superuser,
			"-A", "trust", "-E", "UTF8", "--locale="+locale, "--no-sync")
		cmd.Dir = workDir
		cmd.Env = environment()
		cmd.Stdout, cmd.Stderr = &output, &output
		cmd.WaitDelay = outputDelay
		cmd.SysProcAttr = owner.sysProcAttr(syscall.SIGKILL)
		proc, err := startProcess(cmd, nil)
		if err != nil {
			return err
		}
		<-proc.done
		if proc.err == nil {
			return nil
		}
		errs = append(errs, fmt.Errorf("initdb with locale %s: %w: %s", locale, proc.err, bytes.TrimSpace(output.Bytes())))
		if ctx.Err() != nil {
			break
		}
		if err := os.RemoveAll(data); err != nil {
			return err
		}
	}
	return errors.Join(errs...)
}

// templateCache keeps what initdb made, so that most servers start from a copy. All processes of
// a user share it without locks: a template appears by one rename, is never changed afterwards,
// and every copy is checked against its manifest. The zero templateCache is always empty.
type templateCache struct {
	dir string // of all templates; "" when there is no cache
	key string // of the template for one installation
}

var errNoTemplate = errors.New("no template")

// openTemplateCache returns the cache for the installation in bindir, or one that is always
// empty if the user has no directory for it.
func openTemplateCache(bindir string) templateCache {
	key := sha256.New()
	fmt.Fprintln(key, templateLayout, bindir)
	for _, name := range []string{"initdb", "postgres"} {
		info, err := os.Stat(filepath.Join(bindir, name))
		if err != nil {
			return templateCache{}
		}
		fmt.Fprintln(key, info.Size(), info.ModTime().UnixNano())
	}
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("pooler-pgtest-%d", os.Geteuid()))
	if base, err := os.UserCacheDir(); err == nil {
		dir = filepath.Join(base, "pooler-pgtest")
	}
	if os.MkdirAll(dir, 0o700) != nil {
		return templateCache{}
	}
	// The directory may be in a place where others can write: it has to be ours alone.
	info, err := os.Lstat(dir)
	if err != nil || !info.IsDir() || uidOf(info) != os.Geteuid() || info.Mode().Perm()&0o022 != 0 {
		return templateCache{}
	}
	return templateCache{dir: dir, key: fmt.Sprintf("%x", key.Sum(nil)[:8])}
}

func (c templateCache) template() string { return filepath.Join(c.dir, "template-"+c.key) }

// copyTo copies the template to dst. After an error, dst may hold a part of it, and the template,
// if there was one, is gone: what is wrong with it shall not stay.
func (c templateCache) copyTo(dst string, owner account) error {
	if c.dir == "" {
		return errNoTemplate
	}
	if _, err := os.Stat(c.template()); err != nil {
		return err
	}
	err := c.copyChecked(dst, owner)
	if err != nil {
		c.evict()
	}
	return err
}

func (c templateCache) copyChecked(dst string, owner account) error {
	want, err := os.ReadFile(filepath.Join(c.template(), "manifest"))
	if err != nil {
		return err
	}
	got, err := copyTree(dst, filepath.Join(c.template(), "data"), owner)
	if err != nil {
		return err
	}
	if got.String() != string(want) {
		return fmt.Errorf("template %s holds %s, want %s", c.template(), got, want)
	}
	return nil
}

// save makes data, a data directory whose server never ran, the template.
func (c templateCache) save(data string) error {
	if c.dir == "" {
		return errNoTemplate
	}
	c.removeAbandoned()
	tmp, err := os.MkdirTemp(c.dir, "new-")
	if err != nil {
		return err
	}
	copied, err := copyTree(filepath.Join(tmp, "data"), data, account{})
	if err == nil {
		err = os.WriteFile(filepath.Join(tmp, "manifest"), []byte(copied.String()), 0o600)
	}
	if err == nil {
		err = os.Rename(tmp, c.template()) // refused if another process was first
	}
	if err != nil {
		err = errors.Join(err, os.RemoveAll(tmp))
	}
	return err
}

// evict takes the template out of use. Processes that are copying it notice by the manifest.
func (c templateCache) evict() {
	if c.dir == "" {
		return
	}
	tmp, err := os.MkdirTemp(c.dir, "old-")
	if err != nil {
		return
	}
	// Renamed first, so that nobody finds a template that is half removed.
	_ = os.Rename(c.template(), filepath.Join(tmp, "template"))
	_ = os.RemoveAll(tmp)
}

// removeAbandoned removes what killed processes were writing.
func (c templateCache) removeAbandoned() {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "template-") {
			continue
		}
		info, err := e.Info()
		if err == nil && time.Since(info.ModTime()) > abandonedAfter {
			_ = os.RemoveAll(filepath.Join(c.dir, e.Name()))
		}
	}
}

// treeSize is what a manifest tells of a tree.
type treeSize struct {
	dirs, files int
	bytes       int64
}

func (t treeSize) String() string {
	return fmt.Sprintf("%d directories, %d files, %d bytes", t.dirs, t.files, t.bytes)
}

// copyTree copies the directories and regular files of src to dst, which must not exist, for
// owner. A data directory just made holds nothing else.
func copyTree(dst, src string, owner account) (treeSize, error) {
	var size treeSize
	err := filepath.WalkDir(src, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(src, path)
		if err != nil {
			return err
		}
		target := filepath.Join(dst, rel)
		switch {
		case entry.IsDir():
			size.dirs++
			err = os.Mkdir(target, 0o700)
		case entry.Type().IsRegular():
			var n int64
			n, err = copyFile(target, path)
			size.files++
			size.bytes += n
		default:
			err = fmt.Errorf("copy %s: neither a directory nor a regular file", path)
		}
		if err != nil {
			return err
		}
		return owner.own(target)
	})
	return size, err
}

func copyFile(dst, src string) (int64, error) {
	in, err := os.Open(src)
	if err != nil {
		return 0, err
	}
	defer func() { _ = in.Close() }() // read only
	out, err := os.OpenFile(dst, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(out, in)
	return n, errors.Join(err, out.Close())
}
