package sessionstate

import (
	_ "embed"
	"encoding/binary"
	"slices"
	"strings"
)

//go:embed harmless_functions.txt
var harmlessFunctions string

// wordInfo is all that is known about a word, whichever of its uses a text makes.
type wordInfo struct {
	token    token
	opening  opening
	object   objectKind
	function functionKind
	starts   Effect // of a statement that begins with it
	calls    Effect // of a call
	text     uint16 // where in wordTable.text it is
	size     uint16 // how many parts it has there
}

// wordTable finds words by their bytes, which it keeps in parts of eight, padded with NUL (no text has a NUL: the
// protocol ends it there). It never changes.
type wordTable struct {
	slots [wordSlots]uint32 // hash table with open addressing: the upper half a part of the hash, the lower an index into infos
	infos []wordInfo
	text  []uint64
}

const (
	wordParts   = 6 // no listed word is longer than 48 bytes
	wordSlots   = 1 << 13
	wordHashMul = 0x9e3779b97f4a7c15
)

// words knows all listed words; infos[0] is that of the others.
var words = newWordTable()

func newWordTable() *wordTable {
	t := &wordTable{infos: []wordInfo{{token: tokName}}}
	each := func(words string, set func(*wordInfo)) {
		for _, w := range strings.Fields(words) {
			set(t.entry(w))
		}
	}
	for _, k := range keywords {
		each(k.words, func(i *wordInfo) { i.token = k.token })
	}
	for _, o := range openings {
		each(o.words, func(i *wordInfo) { i.opening, i.starts = o.opening, o.effect })
	}
	for _, o := range objects {
		each(o.words, func(i *wordInfo) { i.object = o.object })
	}
	for line := range strings.Lines(harmlessFunctions) {
		if !strings.HasPrefix(line, "#") {
			each(line, func(i *wordInfo) { i.function = functionKnown })
		}
	}
	for _, f := range statefulFunctions {
		each(f.words, func(i *wordInfo) { i.function, i.calls = functionKnown, f.effect })
	}
	t.entry("set_config").function = functionSetConfig
	t.entry("pg_catalog").function = nameCatalog
	t.entry("pg_settings").function = nameSettings
	t.entry("pg_prepared_statements").function = namePrepared
	t.entry(CallbackSchema).function = nameCallback
	return t
}

// entry returns the info of a word, which it adds if needed.
func (t *wordTable) entry(word string) *wordInfo {
	i, _ := t.find([]byte(word), true)
	if i != 0 {
		return &t.infos[i]
	}
	if len(word) > wordParts*8 || len(t.infos)*2 > wordSlots {
		panic("bug: no room in the word table for " + word)
	}
	info := wordInfo{token: tokName, text: uint16(len(t.text))}
	var h uint64
	for w := []byte(word); len(w) > 0; w = w[min(8, len(w)):] {
		part := loadPart(w)
		t.text = append(t.text, part)
		h = hashPart(h, part)
	}
	info.size = uint16(len(t.text)) - info.text
	slot, mark := hashSlot(h)
	for t.slots[slot] != 0 {
		slot = (slot + 1) % wordSlots
	}
	t.slots[slot] = mark | uint32(len(t.infos))
	t.infos = append(t.infos, info)
	return &t.infos[len(t.infos)-1]
}

// find returns the index of a word's info, 0 if it is not listed, and its first eight bytes. Unless exact, upper
// case ASCII letters count as lower case. Short words, which most are, take a way without loops.
func (t *wordTable) find(word []byte, exact bool) (index uint16, first uint64) {
	if len(word) == 0 {
		return 0, 0
	}
	first = loadPart(word)
	if !exact {
		first = lowerPart(first)
	}
	if len(word) > 8 {
		return t.findLong(word, first, exact), first
	}
	slot, mark := hashSlot(hashPart(0, first))
	for ; t.slots[slot] != 0; slot = (slot + 1) % wordSlots {
		if t.slots[slot]&^0xffff == mark {
			index = uint16(t.slots[slot])
			if info := &t.infos[index]; info.size == 1 && t.text[info.text] == first {
				return index, first
			}
		}
	}
	return 0, first
}

func (t *wordTable) findLong(word []byte, first uint64, exact bool) uint16 {
	if len(word) > wordParts*8 {
		return 0
	}
	parts := [wordParts]uint64{first}
	h := hashPart(0, first)
	n := 1
	for w := word[8:]; len(w) > 0; w = w[min(8, len(w)):] {
		part := loadPart(w)
		if !exact {
			part = lowerPart(part)
		}
		parts[n] = part
		h = hashPart(h, part)
		n++
	}
	slot, mark := hashSlot(h)
	for ; t.slots[slot] != 0; slot = (slot + 1) % wordSlots {
		if t.slots[slot]&^0xffff == mark {
			index := uint16(t.slots[slot])
			if info := &t.infos[index]; slices.Equal(t.text[info.text:info.text+info.size], parts[:n]) {
				return index
			}
		}
	}
	return 0
}

func hashPart(h, part uint64) uint64 {
	h = (h ^ part) * wordHashMul
	return h ^ h>>32
}

func hashSlot(h uint64) (slot, mark uint32) {
	return uint32(h) % wordSlots, uint32(h>>32) &^ 0xffff
}

// loadPart returns the first eight bytes of w, which is not empty, padded with NUL.
func loadPart(w []byte) uint64 {
	n := len(w)
	switch {
	case n >= 8:
		return binary.LittleEndian.Uint64(w)
	case n >= 4:
		return uint64(binary.LittleEndian.Uint32(w)) | uint64(binary.LittleEndian.Uint32(w[n-4:]))<<(8*(n-4))
	}
	return uint64(w[0]) | uint64(w[n>>1])<<(8*(n>>1)) | uint64(w[n-1])<<(8*(n-1))
}

// lowerPart turns upper case ASCII letters into lower case, eight bytes at once: adding brings the bytes from 'A' on,
// or past 'Z', to their top bit.
func lowerPart(x uint64) uint64 {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	low := x &^ tops
	fromA := low + (0x80-'A')*ones
	pastZ := low + (0x7f-'Z')*ones
	return x | (fromA&^pastZ&^x&tops)>>2
}

// partOf returns a short word as find returns the first bytes, and mask which of them count.
func partOf(word string) (part, mask uint64) {
	for i := range min(len(word), 8) {
		part |= uint64(word[i]) << (8 * i)
		mask |= 0xff << (8 * i)
	}
	return part, mask
}
