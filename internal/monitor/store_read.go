package monitor

import (
	"encoding/binary"
	"time"

	"go.etcd.io/bbolt"
)

// read adds to p what the file has of a kind before a second. What is damaged is left out.
func (s *store) read(kind string, p *plot, until int64) {
	s.mu.RLock()
	db := s.db
	var err error
	if db != nil {
		err = s.guard(func() error {
			return db.View(func(tx *bbolt.Tx) error {
				readDays(tx, kind, p, until)
				return nil
			})
		})
	}
	s.mu.RUnlock()
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.db == db {
			s.failLocked("read", err)
		}
	}
}

// readDays goes back day by day, so that if there are more series than a chart can have lines, the latest have one.
func readDays(tx *bbolt.Tx, kind string, p *plot, until int64) {
	until = min(until, p.end())
	first, last := p.begin-mod(p.begin, minute), until-1
	const day = 24 * 3600
	for at := last - mod(last, day); at > first-day; at -= day {
		b := tx.Bucket([]byte(time.Unix(at, 0).UTC().Format(dayFormat)))
		if b == nil {
			continue
		}
		if b = b.Bucket([]byte(kind)); b == nil {
			continue
		}
		names, minutes := b.Bucket(bucketNames), b.Bucket(bucketMinutes)
		if names == nil || minutes == nil {
			continue
		}
		readMinutes(names, minutes, p, max(first, at), min(until, at+day))
	}
}

func readMinutes(names, minutes *bbolt.Bucket, p *plot, from, until int64) {
	lines := map[uint64]*plotLine{idOthers: p.others, idTotal: p.total}
	lineOf := func(id uint64) *plotLine {
		l, known := lines[id]
		if !known {
			l = p.others
			if name := names.Get(binary.BigEndian.AppendUint64(nil, id)); name != nil && len(name) <= nameMost {
				l = p.line(string(name))
			}
			if len(lines) < 2*namesMost { // a damaged file may have any number of numbers
				lines[id] = l
			}
		}
		return l
	}
	var r record
	c := minutes.Cursor()
	for k, v := c.Seek(binary.BigEndian.AppendUint64(nil, uint64(max(0, from)))); len(k) >= 8; k, v = c.Next() {
		at := int64(binary.BigEndian.Uint64(k))
		if at < from || at >= until {
			break
		}
		if !r.decode(v, 2*p.gauges+p.counters) {
			continue
		}
		p.frame(at, minute, r.samples, 2*p.gauges+p.counters, func(yield func(*plotLine, []int64)) {
			for _, row := range r.rows {
				yield(lineOf(row.id), row.values)
			}
		})
	}
}

// What a file may hold, far beyond what we write.
const (
	minuteMost = 1 << 20            // bytes of a minute
	nameMost   = 4*longestName + 20 // bytes of a name
)

// decode makes r a minute from the file. It reports false for what cannot have been written by us.
func (r *record) decode(value []byte, columns int) bool {
	samples, n := binary.Uvarint(value)
	if n <= 0 || samples == 0 || samples > uint64(minute) || len(value) > minuteMost {
		return false
	}
	r.samples, r.rows = int64(samples), r.rows[:0]
	sound := true
	err := eachChange(value[n:], columns, func(id uint64, column int, by int64) {
		if k := len(r.rows); k == 0 || r.rows[k-1].id != id {
			r.row(id, columns)
		}
		r.rows[len(r.rows)-1].values[column] = by
		sound = sound && by >= 0
	})
	return err == nil && sound
}

// row appends one with the memory of an earlier minute's, if there is any.
func (r *record) row(id uint64, columns int) {
	k := len(r.rows)
	if k < cap(r.rows) {
		if r.rows = r.rows[:k+1]; len(r.rows[k].values) == columns {
			clear(r.rows[k].values)
			r.rows[k].id = id
			return
		}
		r.rows = r.rows[:k]
	}
	r.rows = append(r.rows, recordRow{id: id, values: make([]int64, columns)})
}
