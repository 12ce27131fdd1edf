# `make` without a target lists the targets.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed
# Four workers are the fastest on two cores. Tests of a module or class run in one worker, to share its shop.
PYTEST := $(BIN)/pytest -n 4 --dist loadscope
TESTS := tests/unit tests/component tests/e2e tests/model tests/chaos

.DEFAULT_GOAL := help
.PHONY: help setup up secrets check contracts docs test test-containers clients chaos bench lock clean

help:  ## List the targets
	@sed -n 's/^\([a-z-]*\):.*##  *\(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name does; do \
	  printf '  make %-16s %s\n' "$$name" "$$does"; \
	done

setup: $(INSTALLED)  ## Install requirements.lock into .venv

$(INSTALLED): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Quadrille needs Python 3.11 or newer: make PYTHON=python3.11 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	$(BIN)/python -m compileall -q quadrille shared *_service read_api
	@touch $@

# At a terminal it gets a process group of its own, so that Ctrl-C stops the shop and not make.
up: setup  ## Start the whole shop on this machine; Ctrl-C stops it
	@if [ -t 0 ]; then set -m; $(BIN)/quadrille up; else exec $(BIN)/quadrille up; fi

secrets: setup  ## Generate the passwords for compose.yaml, in deploy/secrets
	$(BIN)/quadrille nats-config deploy/secrets --for-compose

check: setup  ## Formatting, lint, types, import rules, vocabulary, changes of events
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/check_vocabulary.py
	$(BIN)/python -m tools.contracts

contracts: setup  ## Write the schemas of the events, their AsyncAPI document and the OpenAPI documents, in contracts
	$(BIN)/python -m tools.contracts write
	$(BIN)/python -m tools.openapi_documents

docs: setup  ## Write the tables and diagrams of the documents that follow from the code
	$(BIN)/python -m tools.tables

test: setup  ## Unit, component, end-to-end and model tests, and a few faults
	$(PYTEST) -m "not long" $(TESTS)

test-containers: setup  ## compose.yaml as Docker Compose runs it; needs an engine
	$(BIN)/pytest tests/containers

clients: setup  ## Generate Python and TypeScript clients, and place an order; downloads the generators
	$(BIN)/pytest tests/clients

chaos: setup  ## Random faults while orders are placed, then nine invariants: SEED=, ORDERS=, FAULTS=a,b; and the full model
	$(BIN)/pytest -s tests/chaos tests/model

bench: setup  ## Throughput and latency on this machine
	$(BIN)/python -m bench

lock:  ## Update requirements.lock to the newest versions
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet pip-tools
	build/lock/bin/pip-compile --quiet --upgrade --extra dev --generate-hashes --allow-unsafe --strip-extras \
	  --no-header --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
	  --output-file requirements.lock pyproject.toml

clean:  ## Remove generated files, but not the shop's data
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
