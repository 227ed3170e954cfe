package frontend

import "pooler/internal/wire"

// frame is a message that names a statement, being rewritten.
type frame struct {
	g       *wire.Gather
	typ     byte
	off     int
	end     int
	missing int    // bytes of the frame that are still to come
	before  []byte // of the body, in front of the name
}

// rename passes the frame on with another statement name; rest is the body behind the name. It returns what is sent
// if that is all of it.
func (f frame) rename(name string, rest []byte) []byte {
	f.g.Skip(f.off, f.end)
	at := len(f.g.Out)
	f.g.Out = wire.AppendNamed(f.g.Out, f.typ, f.before, name, rest, f.missing)
	if f.missing > 0 {
		return nil
	}
	return f.g.Out[at:]
}

// replace passes p on in place of the frame.
func (f frame) replace(p []byte) {
	f.g.Insert(f.off, p)
	f.g.Skip(f.off, f.end)
}
