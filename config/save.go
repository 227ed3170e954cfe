package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
)

// ErrChangedOnDisk is that Save would overwrite what somebody else wrote.
var ErrChangedOnDisk = errors.New("the file has changed since it was read; RELOAD first, then repeat")

// file is what all Documents have in common that come from one reading.
type file struct {
	name   string // its path, if onDisk
	onDisk bool

	saving sync.Mutex             // one Save at a time; held while it writes, which nothing else waits for
	text   atomic.Pointer[string] // as it was read, or saved last
}

// Save writes the text to the file, or to what a symlink of that name points to. It replaces the file at once or not at all,
// and keeps its mode and owner. It returns ErrChangedOnDisk if the file is no longer what was read.
func (d *Document) Save() error {
	f := d.file
	if !f.onDisk {
		return fmt.Errorf("save %s: it is not a file", f.name)
	}
	f.saving.Lock()
	defer f.saving.Unlock()

	target, err := filepath.EvalSymlinks(f.name)
	if err != nil {
		return fmt.Errorf("save %s: %w", f.name, err)
	}
	if err := f.unchanged(target); err != nil || !d.Changed() {
		return err
	}
	if err := f.replace(target, d.text); err != nil {
		return err
	}
	f.text.Store(&d.text)
	if err := syncFolder(filepath.Dir(target)); err != nil {
		return fmt.Errorf("save %s: written, but it may not survive a power failure: %w", f.name, err)
	}
	return nil
}

// unchanged compares the file with what was read of it.
func (f *file) unchanged(target string) error {
	data, err := readFile(target, maxConfigSize)
	if err != nil {
		return fmt.Errorf("save %s: %w", f.name, err)
	}
	if string(data) != *f.text.Load() {
		return fmt.Errorf("save %s: %w", f.name, ErrChangedOnDisk)
	}
	return nil
}

// replace writes a new file beside the old one, and then puts it in its place.
func (f *file) replace(target, text string) error {
	old, err := os.Stat(target)
	if err != nil {
		return fmt.Errorf("save %s: %w", f.name, err)
	}
	if !old.Mode().IsRegular() {
		return fmt.Errorf("save %s: not a regular file", f.name)
	}
	temp, err := writeBeside(target, text, old)
	if temp != "" {
		defer os.Remove(temp) //nolint:errcheck // once it is renamed there is none
	}
	if err != nil {
		return f.asItWas(err)
	}
	if err := f.unchanged(target); err != nil { // writing to a disk takes a while
		return err
	}
	if err := os.Rename(temp, target); err != nil {
		return f.asItWas(err)
	}
	return nil
}

func (f *file) asItWas(err error) error {
	return fmt.Errorf("save %s: %w; the file is as it was", f.name, err)
}

// writeBeside returns the path of the new file, even if it is incomplete.
func writeBeside(target, text string, old fs.FileInfo) (temp string, err error) {
	f, err := os.CreateTemp(filepath.Dir(target), "."+filepath.Base(target)+".*")
	if err != nil {
		return "", err
	}
	_, err = f.WriteString(text)
	if err == nil {
		err = keepOwner(f, old)
	}
	if err == nil {
		err = f.Chmod(old.Mode().Perm())
	}
	if err == nil {
		err = f.Sync()
	}
	return f.Name(), errors.Join(err, f.Close())
}

// keepOwner fails rather than leaving a file that its readers can no longer read, or that others can.
func keepOwner(f *os.File, old fs.FileInfo) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	is, ok1 := info.Sys().(*syscall.Stat_t)
	was, ok2 := old.Sys().(*syscall.Stat_t)
	if !ok1 || !ok2 || is.Uid == was.Uid && is.Gid == was.Gid {
		return nil
	}
	return f.Chown(int(was.Uid), int(was.Gid))
}

// syncFolder makes a rename last.
func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
