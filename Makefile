# Everything runs from .venv, which is built once and again when pyproject.toml or constraints.txt change.

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install -qq -c constraints.txt

# The first Python that is new enough and can make an environment; another one: make PYTHON=/path/to/python test
PROBE := import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))
NAMES := python3.11 python3.12 python3.13 python3
PYTHON = $(firstword $(foreach name,$(NAMES),$(shell $(name) -c '$(PROBE)' >/dev/null 2>&1 && echo $(name))))

.DEFAULT_GOAL := help
.PHONY: help demo test lint pytest format docs dist check-dist mutants bench clean
.DELETE_ON_ERROR:

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/run.stamp ## train and attack three small networks and write demo/report.html (a minute or two)
	@$(BIN)/logitpair demo

test: $(VENV)/dev.stamp ## check style and types and run all tests, on all cores
	@$(MAKE) --no-print-directory --jobs=2 pytest lint

lint: $(VENV)/dev.stamp ## check style and types only
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/pyright --pythonpath $(BIN)/python

pytest: $(VENV)/dev.stamp ## run all tests only
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/pytest --numprocesses=logical --dist=worksteal -m "$${LOGITPAIR_MARKS-not slow}"

format: $(VENV)/dev.stamp ## rewrite the files in the project's style
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

docs: $(VENV)/dev.stamp ## build the documentation as a site, build/site/index.html
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "wrote build/site/index.html"

dist: $(VENV)/dev.stamp ## build the wheel and the source archive in dist/
	@rm -rf dist
	@$(BIN)/python -m build --outdir dist

check-dist: dist ## install the wheel into an empty environment and run its demo there (PyTorch is installed again)
	@rm -rf build/dist && mkdir -p build/dist
	@$(BIN)/python -m venv build/dist/venv
	@build/dist/venv/bin/python -m pip --disable-pip-version-check install -qq -c constraints.txt dist/*.whl
	@cd build/dist && venv/bin/logitpair demo && test -s demo/report.html

mutants: $(VENV)/dev.stamp ## plant faults in the core, one at a time, and record which the tests notice (an hour)
	@$(BIN)/python -m tests.mutation

bench: $(VENV)/dev.stamp ## measure our speed beside other libraries and beside the network alone
	@$(BIN)/logitpair bench --out results/benchmarks

clean: ## delete the environment, caches, builds and the demo (never runs/)
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
