package config

import (
	"errors"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const savedText = "# mine\nloops = 1 # one\n" + anyDatabase

// onDisk writes a file and reads it as a Document with one change.
func onDisk(t *testing.T) (d *Document, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "p.toml")
	if err := os.WriteFile(path, []byte(savedText), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := ReadDocument(path)
	if err != nil {
		t.Fatal(err)
	}
	return set(t, d, "loops", "2"), path
}

func set(t *testing.T, d *Document, key, value string) *Document {
	t.Helper()
	d, err := d.Set([]string{key}, value)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func wantFile(t *testing.T, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("the file: got %q, %v\nwant %q", got, err, want)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range left {
		if strings.HasPrefix(f.Name(), ".") {
			t.Errorf("%s was left behind", f.Name())
		}
	}
}

func TestSaveKeepsModeAndOwner(t *testing.T) {
	d, path := onDisk(t)
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		if err := os.Chown(path, 12, 34); err != nil {
			t.Fatal(err)
		}
	}
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}

	if err := d.Save(); err != nil {
		t.Fatal(err)
	}

	wantFile(t, path, strings.Replace(savedText, "loops = 1", "loops = 2", 1))
	after, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	old, is := before.Sys().(*syscall.Stat_t), after.Sys().(*syscall.Stat_t)
	if after.Mode() != 0o640 || is.Uid != old.Uid || is.Gid != old.Gid {
		t.Errorf("mode and owner: got %v %d %d, want %v %d %d", after.Mode(), is.Uid, is.Gid, before.Mode(), old.Uid, old.Gid)
	}
	if is.Ino == old.Ino {
		t.Error("the file was written over, not replaced")
	}
	if d.Changed() {
		t.Error("still changed once it is saved")
	}
}

func TestSaveAgain(t *testing.T) {
	d, path := onDisk(t)
	for _, loops := range []string{"2", "2", "3", "1"} {
		d = set(t, d, "loops", loops)
		if err := d.Save(); err != nil {
			t.Fatal(err)
		}
		wantFile(t, path, strings.Replace(savedText, "loops = 1", "loops = "+loops, 1))
	}
}

func TestSaveWritesNothingWithoutAChange(t *testing.T) {
	_, path := onDisk(t)
	d, err := ReadDocument(path)
	if err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Save(); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
		t.Errorf("the file was replaced: %v", err)
	}
}

func TestSaveThroughASymlink(t *testing.T) {
	_, path := onDisk(t)
	link := filepath.Join(t.TempDir(), "link.toml")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	d, err := ReadDocument(link)
	if err != nil {
		t.Fatal(err)
	}

	if err := set(t, d, "loops", "2").Save(); err != nil {
		t.Fatal(err)
	}

	wantFile(t, path, strings.Replace(savedText, "loops = 1", "loops = 2", 1))
	if to, err := os.Readlink(link); err != nil || to != path {
		t.Errorf("the link: got %s, %v", to, err)
	}
}

func TestSaveRefusesWhatOthersHaveChanged(t *testing.T) {
	d, path := onDisk(t)
	theirs := "loops = 4\n" + anyDatabase
	if err := os.WriteFile(path, []byte(theirs), 0o600); err != nil {
		t.Fatal(err)
	}

	err := d.Save()

	want := "save " + path + ": the file has changed since it was read; RELOAD first, then repeat"
	if !errors.Is(err, ErrChangedOnDisk) || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	wantFile(t, path, theirs)
}

func TestSaveWithoutAFile(t *testing.T) {
	d, path := onDisk(t)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := d.Save(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is gone: got %v", err)
	}
	if err := NewDocument("demo", nil).Save(); err == nil || err.Error() != "save demo: it is not a file" {
		t.Errorf("a text: got %v", err)
	}
}

func TestSaveIntoAReadOnlyFolder(t *testing.T) {
	d, path := onDisk(t)
	dir := filepath.Dir(path)
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(folder, 0o555); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Chmod(folder, 0o755) })
	}
	if os.Getuid() == 0 { // whom no mode stops, so be somebody else, as far as this thread's files go
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := unix.Setfsuid(65534); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = unix.Setfsuid(0) }()
	}

	err := d.Save()

	if !errors.Is(err, fs.ErrPermission) || !strings.HasSuffix(err.Error(), "permission denied; the file is as it was") {
		t.Errorf("got %v", err)
	}
	wantFile(t, path, savedText)
}

func TestSaveOnAFullDisk(t *testing.T) {
	d, path := onDisk(t)
	// A limit on the size of files stands for a disk that is full: the first bytes can still be written.
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 10, Max: limit.Max}); err != nil {
		t.Fatal(err)
	}

	err := d.Save()

	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(err, syscall.EFBIG) || !strings.HasSuffix(err.Error(), "; the file is as it was") {
		t.Errorf("got %v", err)
	}
	wantFile(t, path, savedText)
	if err := d.Save(); err != nil {
		t.Errorf("once there is room again: %v", err)
	}
}

func TestSaveAtTheSameTime(t *testing.T) {
	d, path := onDisk(t)
	var saves sync.WaitGroup
	for _, loops := range []string{"3", "4", "5", "6"} {
		mine := set(t, d, "loops", loops)
		saves.Go(func() {
			if err := mine.Save(); err != nil {
				t.Error(err)
			}
		})
	}
	saves.Wait()
	now, err := os.ReadFile(path)
	if err != nil || string(now) != *d.file.text.Load() {
		t.Errorf("the file is not what was saved last: %q, %v", now, err)
	}
}
