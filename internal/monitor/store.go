package monitor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// The file has a bucket for each day (UTC), in that one for each kind of series, and in that two: the names of the
// day's series by number, and the minutes. A minute is a frame against nothing, so that each can be read by itself.
const (
	kindSources = "sources"
	kindPools   = "pools"

	namesMost = 5_000 // series of a kind in a day that have a name; the rest are the others
	daysKept  = 31    // on which historyKept may lie
	dayFormat = "2006-01-02"

	lockTimeout = time.Second // to wait for another process that has the file
	errorEvery  = time.Hour   // that a file which cannot be used is spoken of
)

var (
	bucketNames   = []byte("names")
	bucketMinutes = []byte("minutes")
	keyFormat     = []byte("format")
	formatNow     = []byte("1")
)

// errForeign is a file of somebody else, or of a later version.
var errForeign = errors.New("it is not a history of this version of pooler")

// store keeps minutes in a file for historyKept. save is for one goroutine, read for any.
type store struct {
	path string
	now  func() time.Time
	log  *slog.Logger

	mu     sync.RWMutex // held to read and write with db, and to change it
	db     *bbolt.DB    // nil: it cannot be used at present
	file   *os.File     // of db
	days   map[string]*dictionary
	warned time.Time // when the log was told last that the file cannot be used
	told   bool      // and it still cannot
}

// dictionary is the names of the series of a kind in a day.
type dictionary struct {
	day  string
	byID map[string]uint64
	next uint64
}

func newStore(path string, now func() time.Time, log *slog.Logger) *store {
	return &store{path: path, now: now, log: log, days: map[string]*dictionary{}}
}

// open makes the file ready if it is not. It reports whether it is.
func (s *store) open() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.db != nil {
		return true
	}
	err := s.guard(func() error {
		db, err := bbolt.Open(s.path, 0o600, &bbolt.Options{
			Timeout: lockTimeout, NoStatistics: true, FreelistType: bbolt.FreelistMapType,
			OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
				f, err := os.OpenFile(name, flag, mode)
				s.file = f
				return f, err
			},
		})
		if err != nil {
			return err
		}
		s.db = db
		return db.Update(checkFormat)
	})
	if err != nil {
		s.failLocked("open", err)
		return false
	}
	return true
}

func checkFormat(tx *bbolt.Tx) error {
	info := tx.Bucket(keyFormat)
	if info == nil {
		if name, _ := tx.Cursor().First(); name != nil {
			return errForeign
		}
		var err error
		if info, err = tx.CreateBucket(keyFormat); err != nil {
			return err
		}
		return info.Put(keyFormat, formatNow)
	}
	if string(info.Get(keyFormat)) != string(formatNow) {
		return errForeign
	}
	return nil
}

// close gives the file back.
func (s *store) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.db != nil {
		_ = s.db.Close() // nothing is left to be written
		s.db, s.file = nil, nil
	}
}

// damaged is what bbolt came upon in a file that it could not make sense of.
type damaged struct{ found any }

func (d damaged) Error() string { return fmt.Sprintf("the file is damaged (%v)", d.found) }

// guard runs what works on the file. bbolt panics when it finds it damaged, and reading a file that somebody has made
// shorter is a fault.
func (s *store) guard(work func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if found := recover(); found != nil {
			err = damaged{found}
		}
	}()
	return work()
}

// failLocked gives the file up until the next minute.
func (s *store) failLocked(doing string, err error) {
	if s.db != nil && !errors.As(err, new(damaged)) {
		_ = s.db.Close() // the error that counts is err
	} else if s.file != nil {
		_ = s.file.Close() // db may wait for itself forever
	}
	s.db, s.file = nil, nil
	clear(s.days)
	if now := s.now(); s.warned.IsZero() || now.Sub(s.warned) >= errorEvery {
		s.warned, s.told = now, true
		s.log.Error("history file cannot be used: history goes on in memory, and the file is tried again each minute",
			"file", s.path, "doing", doing, "error", err, "hint", hintFor(err))
	}
}

func hintFor(err error) string {
	var broken damaged
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return "another process has the file open, most likely another pooler: give each its own history_file"
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return "the pooler's user must be allowed to write the file and its directory"
	case errors.Is(err, fs.ErrNotExist):
		return "the directory does not exist"
	case errors.Is(err, syscall.ENOSPC):
		return "the disk is full"
	case errors.As(err, &broken), errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum), errors.Is(err, bolterrors.ErrVersionMismatch), errors.Is(err, errForeign):
		return "move the file away: a new one is begun within a minute"
	}
	return ""
}

// save writes minutes by kind, and forgets the oldest day if there are too many. It reports whether they are written.
func (s *store) save(batch map[string][]record) bool {
	if !s.open() {
		return false
	}
	s.mu.RLock()
	db := s.db
	if db == nil { // a reader has found it damaged
		s.mu.RUnlock()
		return false
	}
	err := s.guard(func() error {
		return db.Update(func(tx *bbolt.Tx) error {
			for kind, records := range batch {
				for _, r := range records {
					if err := s.put(tx, kind, r); err != nil {
						return err
					}
				}
			}
			return dropDay(tx, s.now().UTC().Format(dayFormat))
		})
	})
	s.mu.RUnlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.failLocked("write", err)
		return false
	}
	if s.told {
		s.told = false
		s.log.Info("history file is in use again", "file", s.path)
	}
	return true
}

func (s *store) put(tx *bbolt.Tx, kind string, r record) error {
	day := time.Unix(r.at, 0).UTC().Format(dayFormat)
	names, minutes, err := dayBuckets(tx, day, kind)
	if err != nil {
		return err
	}
	known := s.days[kind]
	if known == nil || known.day != day {
		if known, err = loadDictionary(names, day); err != nil {
			return err
		}
		s.days[kind] = known
	}
	value := binary.AppendUvarint(nil, uint64(r.samples))
	var rest []int64
	none := make([]int64, maxColumns)
	for _, row := range r.rows {
		id := row.id
		if row.name != "" {
			if id, err = known.id(names, row.name); err != nil {
				return err
			}
		} else if id != idTotal {
			id = idOthers
		}
		if id == idOthers {
			rest = addTo(rest, row.values)
			continue
		}
		value = appendChange(value, id, none, row.values)
	}
	value = appendChange(value, idOthers, none, rest)
	// A minute in which the pooler was started again has several values: they are added when they are read.
	key := binary.BigEndian.AppendUint64(nil, uint64(r.at))
	for n := byte(0); ; n++ {
		if numbered := append(key, n); minutes.Get(numbered) == nil || n == 255 {
			return minutes.Put(numbered, value)
		}
	}
}

func addTo(sum, values []int64) []int64 {
	if sum == nil {
		return append(sum, values...)
	}
	for i, v := range values {
		sum[i] += v
	}
	return sum
}

func dayBuckets(tx *bbolt.Tx, day, kind string) (names, minutes *bbolt.Bucket, err error) {
	b, err := tx.CreateBucketIfNotExists([]byte(day))
	if err != nil {
		return nil, nil, err
	}
	if b, err = b.CreateBucketIfNotExists([]byte(kind)); err != nil {
		return nil, nil, err
	}
	if names, err = b.CreateBucketIfNotExists(bucketNames); err != nil {
		return nil, nil, err
	}
	if minutes, err = b.CreateBucketIfNotExists(bucketMinutes); err != nil {
		return nil, nil, err
	}
	names.FillPercent, minutes.FillPercent = 0.95, 0.95 // both grow at the end only
	return names, minutes, nil
}

func loadDictionary(names *bbolt.Bucket, day string) (*dictionary, error) {
	d := &dictionary{day: day, byID: map[string]uint64{}, next: idFirst}
	err := names.ForEach(func(k, v []byte) error {
		if len(k) == 8 && len(d.byID) < namesMost {
			id := binary.BigEndian.Uint64(k)
			d.byID[string(v)] = id
			d.next = max(d.next, id+1)
		}
		return nil
	})
	return d, err
}

// id is the number of a series in the day; idOthers: there are too many.
func (d *dictionary) id(names *bbolt.Bucket, name string) (uint64, error) {
	if id, known := d.byID[name]; known {
		return id, nil
	}
	if len(d.byID) >= namesMost {
		return idOthers, nil
	}
	id := d.next
	if err := names.Put(binary.BigEndian.AppendUint64(nil, id), []byte(name)); err != nil {
		return 0, err
	}
	d.byID[name] = id
	d.next++
	return id, nil
}

// dropDay forgets the oldest day if there are more than are kept. A clock that is wrong for a minute must not cost the
// history: days are counted, whatever their dates, but for those that lie in the future, and one goes at a time.
func dropDay(tx *bbolt.Tx, today string) error {
	var oldest []byte
	days := 0
	c := tx.Cursor()
	for name, _ := c.First(); name != nil && string(name) <= today; name, _ = c.Next() {
		if _, err := time.Parse(dayFormat, string(name)); err != nil {
			continue
		}
		if days++; days == 1 {
			oldest = append(oldest, name...)
		}
	}
	if days <= daysKept {
		return nil
	}
	return tx.DeleteBucket(oldest)
}
