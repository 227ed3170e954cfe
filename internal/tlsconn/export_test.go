package tlsconn

// AskForNewKeys sends a KeyUpdate that asks the peer for one, which crypto/tls never does.
func AskForNewKeys(c *Conn) {
	c.outMu.Lock()
	defer c.outMu.Unlock()
	b := c.layer.out.seal(c.layer.suite, nil, typeHandshake, []byte{messageKeyUpdate, 0, 0, 1, updateRequested})
	c.layer.out.renew(c.layer.suite)
	_, _ = c.Conn.Write(b)
}
