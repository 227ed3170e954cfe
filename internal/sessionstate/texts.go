package sessionstate

import (
	"bytes"
	"hash/maphash"
)

// Text is what is known of a statement text. It never changes.
type Text struct {
	Effects Effect
	Details *Details // nil unless Effects has one of detailed
}

// detailed are the effects of which more must be known than that they are there.
const detailed = EffectSettings | EffectRole | EffectPrepare | EffectDeallocate | EffectExecute | EffectDiscard |
	EffectUnknown | EffectReset | EffectNeighbours | EffectDefaults

// What most texts are, so that texts which vary need no memory.
var (
	textHarmless = &Text{}
	textInsert   = &Text{Effects: EffectInsert}
)

// newText scans a text, and inspects it if its effects ask for that.
func newText(text []byte, standardStrings bool) *Text {
	switch e := Scan(text, standardStrings); {
	case e == 0:
		return textHarmless
	case e == EffectInsert:
		return textInsert
	case e&detailed == 0:
		return &Text{Effects: e}
	default:
		return &Text{Effects: e, Details: Inspect(text, standardStrings)}
	}
}

const (
	textSets     = 1 << 10 // of two texts each
	maxText      = 4 << 10 // longer texts are scanned each time
	maxTextBytes = 3 << 19 // 1.5 MiB of copied texts and their details
)

// Texts remembers texts that it has seen twice, so that they need no scan: 2048 of at most 4 KiB each, in no more than
// 2 MiB all together, none before the first Get. It belongs to one loop, hence no lock. The zero Texts is ready.
type Texts struct {
	sets  *[textSets]textSet
	seed  maphash.Seed
	bytes int // what the texts kept take, up to maxTextBytes
}

// textSet holds the texts whose hashes fall on it.
type textSet struct {
	once  uint64 // hash of the last text seen that is not kept
	older uint8  // which of kept was not the last one used
	kept  [2]keptText
}

type keptText struct {
	hash     uint64
	text     []byte
	standard bool
	known    *Text // nil if none is kept
}

// Get returns what is known of text. standardStrings is the session's standard_conforming_strings.
func (t *Texts) Get(text []byte, standardStrings bool) *Text {
	if len(text) > maxText {
		return newText(text, standardStrings)
	}
	if t.sets == nil {
		t.sets, t.seed = new([textSets]textSet), maphash.MakeSeed()
	}
	hash := maphash.Bytes(t.seed, text)
	if !standardStrings {
		hash = ^hash
	}
	set := &t.sets[hash%textSets]
	for i := range set.kept {
		k := &set.kept[i]
		if k.hash == hash && k.known != nil && k.standard == standardStrings && bytes.Equal(k.text, text) {
			set.older = uint8(1 - i)
			return k.known
		}
	}
	known := newText(text, standardStrings)
	if set.once != hash {
		set.once = hash
		return known
	}
	t.keep(set, keptText{hash: hash, text: text, standard: standardStrings, known: known})
	return known
}

// keep puts a copy of k in the place of the text of its set that was used longer ago. When the room is used up all is
// forgotten: that is rare, and cheaper than to know which texts are worth their room.
func (t *Texts) keep(set *textSet, k keptText) {
	old := &set.kept[set.older]
	buffer := old.text
	if cap(buffer) < len(k.text) {
		buffer = make([]byte, 0, len(k.text))
	}
	more := cap(buffer) + k.known.size() - cap(old.text) - old.known.size()
	if t.bytes+more > maxTextBytes {
		*t.sets = [textSets]textSet{}
		more, t.bytes = cap(buffer)+k.known.size(), 0
	}
	k.text = append(buffer[:0], k.text...)
	*old = k
	set.older, set.once = 1-set.older, 0
	t.bytes += more
}

// size is about how much memory t takes, the text itself not counted.
func (t *Text) size() int {
	if t == nil || t == textHarmless || t == textInsert {
		return 0
	}
	size := 16
	if d := t.Details; d != nil {
		size += 256
		for _, names := range [][]string{d.Prepares, d.Executes, d.Deallocates, d.Settings, d.Custom, d.Calls, d.Words} {
			size += 24 * cap(names) // a header, and what the allocator rounds up
			for _, n := range names {
				size += len(n)
			}
		}
	}
	return size
}
