# Two commands do all the set-up from a fresh clone: `make demo` and `make test`. Nothing but Python and make is needed.

BIN   := .venv/bin
FACTS := setup.cfg pyproject.toml
ARGS  ?=

# In order of preference. A version manager's shim can exist and still not run, so each one is tried.
PYTHONS := $(PYTHON) python3.13 python3.12 python3.11 python3 python3.14 python

.PHONY: help demo test lint format matrix notebooks docs bench kill wheel clean
.DEFAULT_GOAL := help

help: ## this table
	@printf '%-11s %s\n' 'make' 'what it does'
	@printf '%-11s %s\n' '----------' '----------------------------------------------------------------'
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "%-11s %s\n", $$1, $$2 }' Makefile

demo: .venv/.stamp-demo ## run a backtest with alerts, no account needed; writes bt_alerts_demo/
	$(BIN)/bt-alerts demo

test: .venv/.stamp-test ## lint, format, types and all tests; ARGS="-k name" goes to pytest
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict -p bt_alerts
	$(BIN)/mypy --strict tests/typing/api.py
	$(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

lint: .venv/.stamp-test ## ruff check and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict -p bt_alerts
	$(BIN)/mypy --strict tests/typing/api.py

format: .venv/.stamp-test ## put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

matrix: .venv/.stamp-python ## all tests on every CPython here, and on the lowest allowed dependencies
	$(BIN)/python .ci/matrix.py $(ARGS)

notebooks: .venv/.stamp-test ## execute the notebooks
	$(BIN)/python -m pytest tests/test_notebooks.py $(ARGS)

docs: .venv/.stamp-test ## the documentation as a site, in site/: open site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: .venv/.stamp-bench ## what alerts cost, beside what others do; ARGS="--quick", ARGS="--write"
	$(BIN)/python benchmarks/strategy_thread.py $(ARGS)
	$(BIN)/python benchmarks/dispatch.py $(ARGS)
	$(BIN)/python benchmarks/run.py $(ARGS)

kill: .venv/.stamp-test ## the long tests: processes killed again and again, nothing lost
	BT_ALERTS_LONG=1 $(BIN)/python -m pytest -m long $(ARGS)

wheel: .venv/.stamp-test ## source archive and wheel, in dist/
	rm -rf build dist
	$(BIN)/python -m build

clean: ## remove everything that make made
	rm -rf .venv .matrix build dist site *.egg-info bt_alerts_demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The extras are added one upon the other, so the commands can be used in any order. All of them install the working
# tree itself (editable), so that none of them leaves an older copy behind for the next.
# An environment that somebody already made in .venv is used as it is.
.venv/.stamp-python:
	@new_enough='import sys; sys.exit(sys.version_info < (3, 11))'; \
	if $(BIN)/python -c "$$new_enough" >/dev/null 2>&1; then touch $@; exit 0; fi; \
	for python in $(PYTHONS); do \
	  if "$$python" -c "$$new_enough" >/dev/null 2>&1; then \
	    if ! "$$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then without_venv=$$python; continue; fi; \
	    echo "$$python -m venv --clear .venv"; \
	    "$$python" -m venv --clear .venv && touch $@; exit $$?; \
	  fi; \
	done; \
	if [ -n "$$without_venv" ]; then \
	  echo "$$without_venv has no venv module: install it first (on Debian and Ubuntu: apt install python3-venv)." >&2; \
	else \
	  echo "Python 3.11 or newer is needed. Install it, or name it: make PYTHON=/path/to/python3 ..." >&2; \
	fi; exit 1

.venv/.stamp-demo: .venv/.stamp-python $(FACTS)
	$(BIN)/python -m pip install --quiet --editable '.[charts]'
	@touch $@

.venv/.stamp-test: .venv/.stamp-python $(FACTS)
	$(BIN)/python -m pip install --quiet --editable '.[all,test]'
	@touch $@

.venv/.stamp-bench: .venv/.stamp-python $(FACTS)
	$(BIN)/python -m pip install --quiet --editable '.[bench]'
	@touch $@
