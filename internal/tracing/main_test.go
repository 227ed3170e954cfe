package tracing

import (
	"testing"

	"pooler/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }
