package gate

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
)

func TestNoMoreThanTheLimitRunAtOnceAndAllRunInTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(2)
		var mu sync.Mutex
		var order []int
		block := make(chan struct{})
		for i := range 10 {
			g.Go(func() {
				mu.Lock()
				order = append(order, i)
				mu.Unlock()
				<-block
			})
		}
		synctest.Wait()
		if running, waiting := g.Stat(); running != 2 || waiting != 8 || len(order) != 2 {
			t.Fatalf("%d run, %d wait, %d have begun; want 2, 8, 2", running, waiting, len(order))
		}

		g.SetLimit(4)
		synctest.Wait()
		if running, _ := g.Stat(); running != 4 {
			t.Errorf("after raising the limit %d run, want 4", running)
		}
		g.SetLimit(1)
		block <- struct{}{}
		synctest.Wait()
		if running, _ := g.Stat(); running != 3 {
			t.Errorf("after lowering the limit one that ends has a successor: %d run, want 3", running)
		}

		close(block)
		synctest.Wait()
		if running, waiting := g.Stat(); running != 0 || waiting != 0 {
			t.Errorf("at the end %d run and %d wait", running, waiting)
		}
		slices.Sort(order)
		if !slices.Equal(order, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}) {
			t.Errorf("ran %v", order)
		}
	})
}
