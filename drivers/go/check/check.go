// Package check runs a driver's clients in parallel, counts what they verify and prints the outcome.
package check

import (
	"flag"
	"fmt"
	"os"
	"reflect"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

const (
	failuresShown = 5
	atTheEnd      = "the end"
	timeLimit     = 40 * time.Second // a client that hangs must not hang the caller
)

// Client is one client's part of a run. It belongs to one goroutine; a failed Must ends that.
type Client struct {
	ID     int
	Rounds int

	where    atomic.Value // of string
	checks   int
	failures []string
}

// At names the place that the next failures are reported with.
func (c *Client) At(format string, args ...any) { c.where.Store(fmt.Sprintf(format, args...)) }

// Equal verifies a value and goes on.
func (c *Client) Equal(what string, got, want any) {
	c.checks++
	if !reflect.DeepEqual(got, want) {
		c.failures = append(c.failures, fmt.Sprintf("client %d, %s: %s: got %#v, expected %#v", c.ID, c.where.Load(), what, got, want))
	}
}

// Must ends the client on an error.
func (c *Client) Must(what string, err error) {
	c.checks++
	if err != nil {
		c.failures = append(c.failures, fmt.Sprintf("client %d, %s: %s: %v", c.ID, c.where.Load(), what, err))
		runtime.Goexit()
	}
}

// Main runs the clients and ends the process: with 0 when everything was as expected, else with 1.
func Main(driver, module string, run func(*Client)) {
	count := flag.Int("clients", 20, "clients, in parallel")
	rounds := flag.Int("rounds", 50, "rounds of each client")
	flag.Parse()

	began := time.Now()
	clients := make([]*Client, *count)
	for i := range clients {
		clients[i] = &Client{ID: i, Rounds: *rounds}
	}
	watchdog := time.AfterFunc(timeLimit, func() { tooLate(driver, clients) })
	var done sync.WaitGroup
	for i := range clients {
		done.Go(func() {
			defer clients[i].At(atTheEnd)
			run(clients[i])
		})
	}
	done.Wait()
	watchdog.Stop()
	report(driver+" "+version(module), clients, *rounds, time.Since(began))
}

func tooLate(driver string, clients []*Client) {
	fmt.Printf("FAILED %s: not done after %s\n", driver, timeLimit)
	for _, c := range clients {
		if at := c.where.Load(); at != atTheEnd {
			fmt.Printf("  client %d stands at %v\n", c.ID, at)
		}
	}
	os.Exit(1)
}

func report(driver string, clients []*Client, rounds int, took time.Duration) {
	checks, failures := 0, []string{}
	for _, c := range clients {
		checks += c.checks
		failures = append(failures, c.failures...)
	}
	outcome := fmt.Sprintf("%s clients=%d rounds=%d checks=%d seconds=%.1f", driver, len(clients), rounds, checks, took.Seconds())
	if len(failures) == 0 {
		fmt.Println("ok " + outcome)
		return
	}
	fmt.Printf("FAILED %s failures=%d\n", outcome, len(failures))
	for _, failure := range failures[:min(len(failures), failuresShown)] {
		fmt.Printf("  %.600s\n", failure)
	}
	os.Exit(1)
}

// version is what go.mod chose for the driver's module.
func version(module string) string {
	info, _ := debug.ReadBuildInfo()
	for _, dep := range info.Deps {
		if dep.Path == module {
			return dep.Version
		}
	}
	return "?"
}

// Item is a row of the table items: a value of each type that drivers encode in their own way.
type Item struct {
	ID     int64
	Client int32
	T      *string
	N      *string
	TS     *time.Time
	B      []byte
	A      []int32
	TA     []string
	J      *string
	F      float64
	OK     bool
}

// NewItem makes a row that no other client and round has. Each third round has NULLs.
func NewItem(client, round int) Item {
	item := Item{
		Client: int32(client),
		A:      []int32{int32(client), -int32(round), 2147483647},
		TA:     []string{"", "a,b", `"quoted" \ 'single'`, "{}", "NULL", "ünï→🐘", fmt.Sprint(client, "/", round)},
		F:      float64(client)*1e10 + float64(round)/3,
		OK:     round%2 == 0,
	}
	if round%3 == 2 {
		return item
	}
	text := fmt.Sprintf("O'Brien \"x\" \\ $1 ; -- %d/%d\nüñ→漢字🐘", client, round)
	number := fmt.Sprintf("-12345678901234567890.%04d5", client*100+round)
	stamp := time.Date(2001, 2, 3, 4, 5, 6, 789012000, time.UTC).Add(time.Duration(client*1000+round) * time.Hour)
	json := fmt.Sprintf(`{"round": %d, "client": "%d é'"}`, round, client)
	item.T, item.N, item.TS, item.J = &text, &number, &stamp, &json
	item.B = make([]byte, 256)
	for i := range item.B {
		item.B[i] = byte(i + client + round)
	}
	return item
}
