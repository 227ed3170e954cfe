package main

import (
	"bytes"
	"context"
	"fmt"
	"time"
)

const caseStream = "stream"

// stream copies rows out through a target into /dev/null. The proxy's CPU is given per 10^9 bytes
// of row data; psql and the server, not the proxy, usually set the pace.
func (b *bench) stream(ctx context.Context, t *target) (values, error) {
	meter, err := t.meter()
	if err != nil {
		return nil, err
	}
	start := time.Now()
	if err := b.copyOut(ctx, t); err != nil {
		return nil, err
	}
	v := values{metricStreamSeconds: time.Since(start).Seconds()}
	cpu, ok, err := meter.used()
	if err != nil {
		return nil, err
	}
	if ok {
		v[metricStreamCPU] = cpu.Seconds() / b.opts.streamGB
	}
	return v, nil
}

func (b *bench) copyOut(ctx context.Context, t *target) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute+time.Duration(b.opts.streamGB*float64(time.Minute)))
	defer cancel()
	rows := max(1, int64(b.opts.streamGB*1e9)/int64(b.opts.streamRow))
	query := fmt.Sprintf("COPY (SELECT repeat('x', %d) FROM generate_series(1, %d)) TO STDOUT", b.opts.streamRow-1, rows)
	psql := command(ctx, b.tools.psql, "-Xq", "-v", "ON_ERROR_STOP=1", "-c", query, t.at.pgbenchArgs(false)[0])
	var complaints bytes.Buffer
	psql.Stderr = &complaints
	if err := psql.Run(); err != nil {
		return fmt.Errorf("psql: %w %s", err, bytes.TrimSpace(complaints.Bytes()))
	}
	if complaints.Len() > 0 {
		return fmt.Errorf("psql: %s", bytes.TrimSpace(complaints.Bytes()))
	}
	return nil
}
