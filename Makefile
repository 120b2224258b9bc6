# Run `make` to see what there is. Every target sets up what it needs by itself.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
FETCHED := .venv/.fetched

.PHONY: help
help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: deal
deal: $(FETCHED) ## start the local stack, run one real deal through it and show what it did
	@$(BIN)/deal local up
	@$(BIN)/python -m starters.run_deal

.PHONY: test
test: check $(FETCHED) vault ## prove everything: format, lint, types, import rule, all tests with coverage
	$(BIN)/coverage erase
	$(BIN)/$(if $(TESTS),coverage run -m pytest $(TESTS),python -m tests.halves)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

# Where CI is set, tests that need Vault fail without it; else they are skipped.
.PHONY: vault
vault: $(READY) ## find Vault for the tests, or build it with Go (about eight minutes, once)
	@$(BIN)/python -m starters.local.vault || [ -z "$$CI" ]

.PHONY: check
check: $(READY) ## format, lint, types and import rule only
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy
	$(BIN)/basedpyright

.PHONY: bench
bench: $(FETCHED) ## measure deals beside a straight script, a load beside a plain sender, signatures, halts, the API, the trail
	$(BIN)/python -m tests.performance.bench
	$(BIN)/python -m tests.performance.load
	$(BIN)/python -m tests.performance.signatures
	$(BIN)/python -m tests.performance.halts
	$(BIN)/python -m tests.performance.api
	$(BIN)/python -m tests.performance.trail

SEED ?= 4
.PHONY: faults
faults: $(FETCHED) ## kill and break everything, everywhere; the chain says what came of it (SEED=4)
	$(BIN)/python -m tests.faults --seed $(SEED)

.PHONY: down
down: ## stop the local stack, keeping its data
	@if [ -x $(BIN)/deal ]; then $(BIN)/deal local down; fi

.PHONY: clean
clean: down ## stop the local stack and remove everything that was made in this folder
	rm -rf .venv .local deploy/chain/node_modules deploy/chain/build .coverage .coverage.* \
		.hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache *.egg-info

.PHONY: lock
lock: $(READY) ## write the lock files anew from pyproject.toml and package.json
	$(BIN)/uv pip compile pyproject.toml --extra local --extra dev --universal --generate-hashes \
		--no-header --no-emit-index-url --no-annotate --quiet --output-file deploy/locks/python.txt
	cd deploy/chain && npm install --package-lock-only --ignore-scripts --legacy-peer-deps

# The virtual environment, exactly as locked.
$(READY): deploy/locks/python.txt pyproject.toml deploy/setup
	@PYTHON=$(PYTHON) deploy/setup python
	@touch $@

# What does not come from the Python lock: Temporal, the chain's packages and its state.
$(FETCHED): $(READY) deploy/chain/package-lock.json
	@deploy/setup programs
	@$(BIN)/python -m starters.local.fetch
	@touch $@
