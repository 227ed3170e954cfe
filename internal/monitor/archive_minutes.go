package monitor

import "encoding/binary"

// record is a minute of all series, for the file.
type record struct {
	at      int64 // when it began, in seconds
	samples int64
	rows    []recordRow
}

type recordRow struct {
	id     uint64 // idOthers, idTotal or any other
	name   string // in the last case
	values []int64
}

// closeMinuteLocked has a minute wait for the file.
func (a *archive[K]) closeMinuteLocked() {
	if a.stored && a.minutes.samples > 0 {
		a.pending = latest(append(a.pending, a.minuteLocked()))
	}
	a.minutes.next()
}

// latest is as many of the last minutes as may wait for the file.
func latest(minutes []record) []record {
	rows := 0
	for i := len(minutes) - 1; i >= 0; i-- {
		if rows += 1 + len(minutes[i].rows); rows > pendingMost {
			return append([]record(nil), minutes[i+1:]...)
		}
	}
	return minutes
}

// minuteLocked is the minute that is being filled.
func (a *archive[K]) minuteLocked() record {
	r := record{at: a.minutes.begin, samples: a.minutes.samples}
	for id, row := range a.minutes.rows {
		if allZero(row.now) {
			continue
		}
		one := recordRow{id: id, values: append([]int64(nil), row.now...)}
		if s := a.byID[id]; s != nil {
			one.name = s.name
		}
		r.rows = append(r.rows, one)
	}
	return r
}

// takePending takes the minutes that wait for the file; with all, also the one that is not over.
func (a *archive[K]) takePending(all bool) []record {
	a.mu.Lock()
	defer a.mu.Unlock()
	if all {
		a.closeMinuteLocked()
	}
	taken := a.pending
	a.pending = nil
	return taken
}

// putBack returns minutes that could not be written.
func (a *archive[K]) putBack(records []record) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pending = latest(append(records, a.pending...))
}

// encodeName makes one string of the parts of a key, which may contain anything.
func encodeName(parts []string) string {
	var b []byte
	for _, p := range parts {
		b = binary.AppendUvarint(b, uint64(len(p)))
		b = append(b, p...)
	}
	return string(b)
}

// decodeName takes apart what encodeName has made. false: it has not.
func decodeName(name string, parts int) ([]string, bool) {
	list := make([]string, 0, parts)
	for len(name) > 0 {
		n, k := binary.Uvarint([]byte(name[:min(len(name), binary.MaxVarintLen64)]))
		if k <= 0 || n > uint64(len(name)-k) || len(list) == parts {
			return nil, false
		}
		list = append(list, name[k:k+int(n)])
		name = name[k+int(n):]
	}
	return list, len(list) == parts
}
