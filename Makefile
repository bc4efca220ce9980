# Everything runs from .venv, which is built once and again when pyproject.toml or constraints.txt change.

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install -qq -c constraints.txt

# The first Python that is new enough and can make an environment; another one: make PYTHON=/path/to/python test
PROBE := import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))
NAMES := python3.11 python3.12 python3.13 python3
PYTHON = $(firstword $(foreach name,$(NAMES),$(shell $(name) -c '$(PROBE)' >/dev/null 2>&1 && echo $(name))))

.DEFAULT_GOAL := help
.PHONY: help demo test lint format bench clean
.DELETE_ON_ERROR:

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/run.stamp ## train and attack three small networks and write demo/report.html (a minute or two)
	@$(BIN)/logitpair demo

test: lint ## check style and types, then run all tests, on all cores
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/pytest --numprocesses=logical --dist=loadfile

lint: $(VENV)/dev.stamp ## check style and types only
	@echo "ruff and pyright ..."
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/pyright --pythonpath $(BIN)/python

format: $(VENV)/dev.stamp ## rewrite the files in the house's style
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

bench: $(VENV)/dev.stamp ## measure our speed beside other libraries and beside the bare network
	@$(BIN)/python benchmarks/attack.py

clean: ## delete the environment, caches and the demo (never runs/)
	@rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis build dist demo
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "no Python 3.11 or newer with the venv module was found; name one: make PYTHON=/path/to/python"; exit 1; }
	@echo "making $(VENV) with $(PYTHON) ..."
	@$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing logitpair into $(VENV) (PyTorch is large: some minutes) ..."
	@$(PIP) --editable .
	@touch $@

$(VENV)/dev.stamp: pyproject.toml constraints.txt tests/peers.txt | $(VENV)/bin/python
	@echo "installing logitpair, its tools and its tests' libraries into $(VENV) (PyTorch is large: some minutes) ..."
	@$(PIP) --editable '.[dev]'
	@$(PIP) --no-deps --requirement tests/peers.txt
	@touch $@ $(VENV)/run.stamp
