# What a user or a developer does with pooler. `make help` lists it.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: build run test lint check fuzz bench drivers clean help

GOLANGCI_VERSION := v2.15.0
GOVULNCHECK_VERSION := v1.8.0
TOOLS := $(CURDIR)/.tools

# Settings for the command line, e.g. make test TESTFLAGS='-short -run TestX'.
TESTFLAGS ?=
BENCHFLAGS ?=
DEMOFLAGS ?=
DRIVERS ?=
FUZZTIME ?= 30s

build: ## build bin/pooler
	@echo "Building bin/pooler."
	@go build -o bin/pooler ./cmd/pooler

run: ## install what is missing, build, and run the demo: a private PostgreSQL behind pooler on 127.0.0.1:6432
	@echo "Starting the demo: a private PostgreSQL and pooler in front of it. Ctrl-C ends both."
	@scripts/install-postgres.sh
	@$(MAKE) --no-print-directory build
	@exec bin/pooler demo $(DEMOFLAGS)

test: ## install what is missing and run all tests with the race detector
	@echo "Running all tests with the race detector, against a real PostgreSQL."
	@scripts/install-cc.sh
	@scripts/install-postgres.sh
	@scripts/install-pgbouncer.sh
	@scripts/install-pgbouncer-exporter.sh
	@scripts/install-iproute.sh
	@scripts/install-promtool.sh $(TOOLS)
	@scripts/install-chromium.sh
	@# Most tests wait more than they compute. The browser's come last: it minds the networks that others make and cut.
	@CGO_ENABLED=1 go test -race -p 2 -timeout 10m $(TESTFLAGS) $$(go list ./... | grep -v /internal/web)
	@CGO_ENABLED=1 go test -race -p 1 -timeout 10m $(TESTFLAGS) ./internal/web/...

lint: ## check format and code: go vet, golangci-lint, known vulnerabilities
	@echo "Checking format and code with go vet, golangci-lint $(GOLANGCI_VERSION) and govulncheck $(GOVULNCHECK_VERSION)."
	@scripts/install-go-tool.sh $(TOOLS) github.com/golangci/golangci-lint/v2 github.com/golangci/golangci-lint/v2/cmd/golangci-lint $(GOLANGCI_VERSION)
	@go vet ./...
	@$(TOOLS)/golangci-lint run ./...
	@scripts/install-go-tool.sh $(TOOLS) golang.org/x/vuln golang.org/x/vuln/cmd/govulncheck $(GOVULNCHECK_VERSION)
	@scripts/vulncheck.sh $(TOOLS)

check: ## exactly what CI runs: lint, test
	@echo "Doing what CI does: lint, then test."
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory test

fuzz: ## run every fuzz target for FUZZTIME (30s) each
	@echo "Fuzzing every target for $(FUZZTIME)."
	@scripts/fuzz.sh $(FUZZTIME)

bench: ## install PgBouncer if it is missing and run the benchmark beside it, with BENCHFLAGS; 13 minutes
	@echo "Running the benchmark: pooler beside PgBouncer and PostgreSQL alone."
	@scripts/install-postgres.sh
	@scripts/install-pgbouncer.sh
	@go run ./bench $(BENCHFLAGS)

drivers: build ## run the DRIVERS (all) directly and through pooler, 20 clients on 2 server sessions, and compare; and each way to log in; 7 minutes
	@echo "Running the drivers, directly and through the pooler."
	@scripts/drivers.sh $(DRIVERS)

clean: ## remove what the other targets made in this directory
	@echo "Removing bin and .tools."
	@rm -rf bin .tools

help: ## show this list
	@echo "Targets of this Makefile:"
	@sed -nE 's/^([a-z]+):.*## (.*)/  \1	\2/p' Makefile | expand -t 12
