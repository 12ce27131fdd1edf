# `make` alone says what there is.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed
# As many as help on two cores; tests of a file, or of a class in it, stay together: they share a shop.
PYTEST := $(BIN)/pytest -n 4 --dist loadscope
TESTS := tests/unit tests/component tests/e2e

.DEFAULT_GOAL := help
.PHONY: help setup up users check test test-containers chaos bench lock clean

help:  ## Say what there is
	@sed -n 's/^\([a-z-]*\):.*##  *\(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name does; do \
	  printf '  make %-16s %s\n' "$$name" "$$does"; \
	done

setup: $(INSTALLED)  ## Make the environment in .venv, as requirements.lock says

$(INSTALLED): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Quadrille needs Python 3.11 or newer: make PYTHON=python3.11 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	$(BIN)/python -m compileall -q quadrille shared *_service read_api
	@touch $@

# In a terminal it gets a process group of its own, so that Ctrl-C is for the shop and not for make.
up: setup  ## Start the whole shop here; Ctrl-C stops it
	@if [ -t 0 ]; then set -m; $(BIN)/quadrille up; else exec $(BIN)/quadrille up; fi

users: setup  ## Make the broker's users for compose.yaml, in deploy/nats
	$(BIN)/quadrille nats-config deploy/nats --for-compose

check: setup  ## Format, lint, types, vocabulary, and who may import whom
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/check_vocabulary.py

test: setup  ## Unit, component and end-to-end tests, on a real broker and real databases
	$(PYTEST) $(TESTS)

test-containers: setup  ## The three dances in containers, where a Docker engine answers
	$(BIN)/pytest tests/containers

chaos: setup  ## Injuries, with invariants as oracles
	$(BIN)/pytest tests/chaos

bench: setup  ## What this machine can carry, as a table
	$(BIN)/python -m bench

lock:  ## Choose the newest versions anew, into requirements.lock
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet pip-tools
	build/lock/bin/pip-compile --quiet --upgrade --extra dev --generate-hashes --allow-unsafe --strip-extras \
	  --no-header --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
	  --output-file requirements.lock pyproject.toml

clean:  ## Remove what can be made again; the shop's data stays
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
