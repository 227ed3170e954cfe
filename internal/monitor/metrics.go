package monitor

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"pooler/config"
	"pooler/frontend"
	"pooler/pool"
)

// Clients, Pools and Loop are what metrics are taken from.
type (
	// Clients is the frontend.
	Clients interface {
		Stat() frontend.Stat
		Sources() []frontend.SourceStat
		Databases() []frontend.DatabaseStat
		Histograms() []frontend.HistogramStat
		Config() *config.Config
	}
	// Pools is the pool manager.
	Pools interface {
		Stats() []pool.Stat
		Lost() map[string]uint64
		Logins() []pool.LoginStat
	}
	// Loop is an event loop.
	Loop interface{ Panics() uint64 }
)

// Extras are metrics that others count. A nil function: those metrics are not there.
type Extras struct {
	Version string
	Leaks   func() LeakStat
	Events  func() map[string]uint64 // since the start, by kind
}

// NewRegistry returns a registry of its own with every metric of the pooler.
func NewRegistry[L Loop](clients Clients, pools Pools, loops []L, extras Extras) (*prometheus.Registry, error) {
	r := prometheus.NewRegistry()
	c := &collector{clients: clients, pools: pools, extras: extras}
	for _, l := range loops {
		c.loops = append(c.loops, l)
	}
	for _, each := range []prometheus.Collector{
		c, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		if err := r.Register(each); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return r, nil
}

// collector takes a snapshot for each scrape. Any goroutine may use it.
type collector struct {
	clients Clients
	pools   Pools
	loops   []Loop
	extras  Extras
	ranks   ranks
}

// Describe implements prometheus.Collector: the collector is unchecked, since pools come and go.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	stat, pools := c.clients.Stat(), c.ranks.pools(c.pools.Stats())
	c.collectProcess(out)
	c.collectClients(out, stat)
	c.collectLogins(out, stat)
	collectState(out, stat)
	c.collectUse(out, stat, pools)
	for i := range pools {
		collectPool(out, &pools[i])
	}
	c.collectTraffic(out)
	c.collectPhases(out)
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("pooler_"+name, help, labels, nil)
}

func gauge[N int | int64 | float64](out chan<- prometheus.Metric, d *prometheus.Desc, v N, labels ...string) {
	out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
}

func counter[N uint64 | float64](out chan<- prometheus.Metric, d *prometheus.Desc, v N, labels ...string) {
	out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
}

func gauges[N int | int64](out chan<- prometheus.Metric, d *prometheus.Desc, by map[string]N, labels ...string) {
	for name, n := range by {
		gauge(out, d, n, append(labels[:len(labels):len(labels)], name)...)
	}
}

func counters[N uint64 | float64](out chan<- prometheus.Metric, d *prometheus.Desc, by map[string]N, labels ...string) {
	for name, n := range by {
		counter(out, d, n, append(labels[:len(labels):len(labels)], name)...)
	}
}
