# Everything a person does with the checkout. Each target does its own set-up; run as root.

PYTHON := .venv/bin/python
PYTEST_ARGS ?=
DOOM_ARGS ?=

.DEFAULT_GOAL := help

.PHONY: help setup demo demo-clean test test-faults test-vm lint format docs bench lock install uninstall clean distclean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what hutch needs: system packages, CRIU, the virtual environment
	@scripts/setup

demo: setup ## try it: a daemon in a network of its own, a Debian 12 image, a running machine
	@scripts/demo

demo-clean: ## stop the demo and remove every trace of it
	@scripts/demo-clean

test: setup ## format, style, types, imports, and all tests
	@scripts/check
	@scripts/test $(PYTEST_ARGS)

test-faults: setup ## kill the daemon and its tools at every single step of every request and move (some 30 minutes)
	@HUTCH_EVERY_STEP=1 scripts/test tests/faults/test_every_step.py tests/migration/test_kills.py

test-vm: setup ## boot Debian's own kernel in an emulated machine and run the main job there (some ten minutes)
	@command -v qemu-system-x86_64 >/dev/null || apt-get -q -y --no-install-recommends install qemu-system-x86 </dev/null
	@$(PYTHON) -m tests.vm

lint: setup ## format, style, types and imports only
	@scripts/check

format: setup ## put the code into the one format
	@.venv/bin/ruff format . && .venv/bin/ruff check --fix .

docs: setup ## write what is generated in docs/ anew
	@scripts/docs

bench: setup ## measure; writes docs/benchmarks.md
	@$(PYTHON) -m bench --write

doom: setup ## move Doom between two hosts while it is played; writes docs/doom.md
	@$(PYTHON) -m bench.doom --write $(DOOM_ARGS)

lock: ## pin the Python packages anew (LOCK_ARGS=--upgrade for newer ones)
	@scripts/lock $(LOCK_ARGS)

install: setup ## install on this host: /opt/hutch, /usr/local/bin, the systemd unit, the group hutch
	@scripts/install

uninstall: ## take the installation away again; the state in /var/lib/hutch stays
	@scripts/uninstall

clean: ## remove what tools left in the checkout
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist .cache
	@find src tests bench -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

distclean: demo-clean clean ## also remove the virtual environment
	@rm -rf .venv
