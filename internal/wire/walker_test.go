package wire

import (
	"bytes"
	"fmt"
	"testing"
)

var testLimits = func() *Limits {
	var l Limits
	l['Z'], l['E'] = 64, 64
	return &l
}()

func frameOf(typ byte, body string) []byte {
	return append(AppendHeader(nil, typ, len(body)), body...)
}

// walk feeds stream in chunks of size n as a relay does, and returns each frame's type and bytes.
func walk(t testing.TB, stream []byte, n int) []string {
	t.Helper()
	w := Walker{Limits: testLimits}
	var frames []string
	var kept, open []byte
	for len(stream) > 0 {
		k := min(n, len(stream))
		b := append(kept, stream[:k]...)
		stream = stream[k:]
		for {
			typ, size, part := w.Next(b)
			if part == None {
				break
			}
			if part == Bad {
				return append(frames, "bad")
			}
			if part == Head && testLimits[typ] > 0 && size < MinHead {
				t.Fatalf("the head of a looked-at frame shows %d bytes only", size)
			}
			open = append(open, b[:size]...)
			b = b[size:]
			if part == Whole || part == Tail {
				frames = append(frames, fmt.Sprintf("%c %x", typ, open))
				open = nil
			}
		}
		kept = bytes.Clone(b)
	}
	return append(frames, fmt.Sprintf("rest %x %x %d", open, kept, w.Left()))
}

func TestWalkerFindsTheSameFramesAtEveryChunking(t *testing.T) {
	var stream []byte
	for _, f := range [][]byte{
		frameOf('Z', "I"), frameOf('D', ""), frameOf('D', string(make([]byte, 300))), frameOf('E', string(make([]byte, 50))),
		frameOf('E', string(make([]byte, 1000))), frameOf('d', "x"), frameOf('Z', "T"),
	} {
		stream = append(stream, f...)
	}
	want := walk(t, stream, len(stream))
	if len(want) != 8 {
		t.Fatalf("walked %d frames, want 7 and the rest: %v", len(want), want)
	}
	for n := 1; n <= len(stream); n++ {
		if got := walk(t, stream, n); len(got) != len(want) || got[len(got)-1] != want[len(want)-1] {
			t.Fatalf("in chunks of %d: %v, want %v", n, got, want)
		}
	}
}

func TestWalkerRefusesImpossibleLengths(t *testing.T) {
	for _, length := range [][]byte{{0, 0, 0, 0}, {0, 0, 0, 3}, {0x40, 0, 0, 0}, {0xff, 0xff, 0xff, 0xff}} {
		w := Walker{Limits: testLimits}
		if _, _, part := w.Next(append([]byte{'Q'}, length...)); part != Bad {
			t.Errorf("length %x: part %d, want Bad", length, part)
		}
	}
}

func FuzzWalker(f *testing.F) {
	f.Add([]byte("Z\x00\x00\x00\x05ID\x00\x00\x00\x08abcd"), 1)
	f.Add([]byte("E\x00\x00\x01\x05abc"), 3)
	f.Fuzz(func(t *testing.T, stream []byte, n int) {
		if n < 1 || n > 1<<16 {
			return
		}
		whole, cut := walk(t, stream, max(len(stream), 1)), walk(t, stream, n)
		for i := range min(len(whole), len(cut)) - 1 {
			if whole[i] != cut[i] {
				t.Fatalf("frame %d differs in chunks of %d: %s, want %s", i, n, cut[i], whole[i])
			}
		}
		if len(whole) != len(cut) {
			t.Fatalf("%d frames in chunks of %d, want %d", len(cut), n, len(whole))
		}
	})
}

func TestErrorFieldReadsWhatIsAtHand(t *testing.T) {
	body := AppendError(nil, 'E', "FATAL", "57P01", "bye", "")[HeaderSize:]
	for _, tc := range []struct {
		name string
		body []byte
		code byte
		want string
	}{
		{"SQLSTATE", body, 'C', "57P01"},
		{"message", body, 'M', "bye"},
		{"absent", body, 'H', ""},
		{"cut short before it", body[:8], 'C', ""},
		{"cut short behind it", body[:22], 'C', "57P01"},
		{"empty", nil, 'C', ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := string(ErrorField(tc.body, tc.code)); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestGatherPassesAnUntouchedChunkOnUncopied(t *testing.T) {
	in := []byte("abcdef")
	g := Gather{In: in}
	if out := g.Take(4); &out[0] != &in[0] || string(out) != "abcd" {
		t.Errorf("got %q, or a copy", out)
	}
}

func TestGatherLeavesOutAndPutsIn(t *testing.T) {
	g := Gather{In: []byte("abcdefgh")}
	g.Skip(1, 3)
	g.Insert(4, []byte("XY"))
	g.Insert(6, []byte("Z"))
	g.Skip(6, 7)
	if got := string(g.Take(8)); got != "adXYefZh" {
		t.Errorf("got %q", got)
	}
}

func BenchmarkWalker(b *testing.B) {
	chunk := bytes.Repeat(frameOf('D', string(make([]byte, 100))), 600)
	w := Walker{Limits: testLimits}
	b.SetBytes(int64(len(chunk)))
	for b.Loop() {
		for off := 0; off < len(chunk); {
			_, n, _ := w.Next(chunk[off:])
			off += n
		}
	}
}
