package sessionstate

import "bytes"

// maxNamesFound bounds the lists of names that are collected wherever they are written.
const maxNamesFound = 200

// CustomNames calls add for each word with a dot in b (any bytes, such as the body of a Bind message) that may be the
// name of a custom parameter: identifiers of at most 63 bytes joined by dots. Each is lower-cased and comes once, 200
// at most.
func CustomNames(b []byte, add func(name string)) {
	found := nameSet{limit: maxNamesFound}
	customNames(b, func(name []byte) {
		if found.add(lowerASCII(string(name))) {
			add(found.names[len(found.names)-1])
		}
	})
}

// customNames calls add for each word as CustomNames does, which may be one more than once.
func customNames(b []byte, add func(name []byte)) {
	if bytes.IndexByte(b, '.') < 0 {
		return
	}
	for i := 0; i < len(b); {
		if byteClasses[b[i]] != classWord {
			i++
			continue
		}
		size, custom := dottedSize(b[i:])
		if custom {
			add(b[i : i+size])
			// The last byte of the length that precedes a parameter's value may look like a part of the name.
			if i >= 3 && b[i-1] == 0 && b[i-2] == 0 && b[i-3] == 0 && byteClasses[b[i+1]] == classWord {
				add(b[i+1 : i+size])
			}
		}
		i += size
	}
}

// dottedSize measures identifiers joined by dots. custom is whether they may name a custom parameter.
func dottedSize(b []byte) (size int, custom bool) {
	parts, long := 0, false
	for n := 0; ; n++ {
		part := n
		for n < len(b) && inWord[b[n]] {
			n++
		}
		parts++
		long = long || n-part > maxName
		size = n
		if n+1 >= len(b) || b[n] != '.' || byteClasses[b[n+1]] != classWord {
			return size, parts > 1 && !long
		}
	}
}

// nameSet is a list of names without repetitions.
type nameSet struct {
	names []string
	known map[string]struct{}
	limit int // 0 is none
}

// add appends name unless it is there or the list is full, which it tells.
func (s *nameSet) add(name string) bool {
	if _, ok := s.known[name]; ok || s.limit > 0 && len(s.names) >= s.limit {
		return false
	}
	if s.known == nil {
		s.known = map[string]struct{}{}
	}
	s.known[name] = struct{}{}
	s.names = append(s.names, name)
	return true
}
