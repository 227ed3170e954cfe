package wire

// Gather puts together what is passed on of a chunk: as long as nothing is left out or put in, that is the chunk
// itself, uncopied.
type Gather struct {
	In  []byte
	Out []byte // scratch, used when something was left out or put in
	run int    // of In, everything before run is in Out or left out
}

// Skip leaves out In[from:to].
func (g *Gather) Skip(from, to int) {
	if from > g.run {
		g.Out = append(g.Out, g.In[g.run:from]...)
	}
	g.run = to
}

// Insert puts p in at position at.
func (g *Gather) Insert(at int, p []byte) {
	if at > g.run {
		g.Out = append(g.Out, g.In[g.run:at]...)
		g.run = at
	}
	g.Out = append(g.Out, p...)
}

// Take is all up to position end.
func (g *Gather) Take(end int) []byte {
	if len(g.Out) == 0 {
		return g.In[min(g.run, end):end]
	}
	if end > g.run {
		g.Out = append(g.Out, g.In[g.run:end]...)
		g.run = end
	}
	return g.Out
}
