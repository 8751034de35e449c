# `make help` lists the targets. `make run` and `make test` install what is missing.
SHELL := /bin/bash
TOOLS := .build-tools/venv
DATA ?= ./strata-data
LISTEN ?= 127.0.0.1:5000
SEEDS ?= 10000

.PHONY: help build test test-fast test-system test-long model simulate lint format fuzz torture nightly bench bench-fleet bench-objects bench-collection run ci clean
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

# Stamps: an install runs once, and again when its script changes.
.build-tools/build-dependencies: scripts/install-build-dependencies.sh
	@scripts/install-build-dependencies.sh && mkdir -p .build-tools && touch $@

.build-tools/test-tools: scripts/install-test-tools.sh .build-tools/build-dependencies
	@scripts/install-test-tools.sh && touch $@

build: .build-tools/build-dependencies ## the release binary
	swift build -c release --static-swift-stdlib --product strata

run: build ## build and serve on $(LISTEN), data in $(DATA)
	.build/release/strata serve --data $(DATA) --listen $(LISTEN)

test-fast: .build-tools/test-tools ## unit tests on SQLite and PostgreSQL, and the rules about the source
	python3 Tests/System/services.py postgres -- swift test

test-system: build .build-tools/test-tools ## specification, clients, crashes, concurrency against the release binary
	cd Tests/System && $(CURDIR)/$(TOOLS)/bin/python3 -m pytest -q -ra -n 2 --dist loadgroup

test: lint build test-fast ## everything; installs and starts what it needs
	$(MAKE) -j 2 test-system test-long

# The system tests wait for most of their time. What only computes fills the gaps.
test-long: ## the models, the simulation, the parsers: whatever is found by trying very much
	nice -n 19 $(MAKE) model simulate fuzz

# Other seeds than those of CI are run by an optimised build, which takes minutes itself.
OPTIMISED := -c release -Xswiftc -enable-testing --scratch-path .build-simulation
simulate: .build-tools/build-dependencies ## SEEDS runs (10000, or 10001-20000) of the real code by a virtual clock, or STRATA_SEED alone
	$(if $(STRATA_SEED),,STRATA_SEEDS=$(SEEDS)) swift test $(if $(filter-out 10000,$(SEEDS)),$(OPTIMISED)) --filter SimulationTests

model: .build-tools/test-tools ## every state of the models of garbage collection, and every mistake that can be put in
	scripts/check-model.sh

lint: ## the formatter's opinion
	swift format lint --strict --recursive --parallel Sources Tests Fuzz Package.swift

format: ## lay the source out
	swift format --in-place --recursive --parallel Sources Tests Fuzz Package.swift

fuzz: .build-tools/build-dependencies ## each parser for FUZZ_SECONDS seconds (30)
	scripts/fuzz.sh

torture: build .build-tools/test-tools ## everything at once on both pairs of stores, MINUTES (10) each, while nodes are killed
	cd Tests/System && MINUTES=$(or $(MINUTES),10) $(CURDIR)/$(TOOLS)/bin/python3 -m pytest -q -ra -n 2 --dist loadgroup test_torture.py

# Ten nights run a million seeds, none of them twice.
SEEDS_A_NIGHT ?= 100000
nightly: ## what takes too long for every change: torture, and seeds that no night before has run
	$(MAKE) torture
	night=$$(( $$(date +%s) / 86400 )); \
	$(MAKE) simulate SEEDS=$$(( night * $(SEEDS_A_NIGHT) + 1 ))-$$(( (night + 1) * $(SEEDS_A_NIGHT) ))

bench: build .build-tools/test-tools ## measure beside docker-registry and nginx; replaces the tables in docs/benchmarks.md
	python3 Benchmarks/run.py --write

bench-fleet: build .build-tools/test-tools ## fill PostgreSQL as a fleet would, measure on it; replaces its tables too
	python3 Benchmarks/fleet.py --write

bench-objects: build .build-tools/test-tools ## measure on an object store; replaces its tables too
	$(TOOLS)/bin/python3 Benchmarks/objects.py --write

bench-collection: build .build-tools/test-tools ## measure what garbage collection costs; replaces its tables too
	$(TOOLS)/bin/python3 Benchmarks/collection.py --write

ci: test ## what .ci/run runs

clean: ## remove what was built
	rm -rf .build .build-fuzz .build-simulation .build-tools
