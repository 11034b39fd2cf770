# Everything a newcomer needs; `make` alone lists it.
PYTHON ?= python3
VENV := .venv
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test lint format wheel bench-vectorize clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED) ## create .venv with the tested versions (instant when nothing changed)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "geotiler needs Python 3.11 or newer; try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt hatchling # the pinned one builds, too
	$(BIN)/python -m pip install --quiet -c constraints.txt --no-build-isolation -e '.[dev]'
	@touch $@

demo: $(INSTALLED) ## render an example scene, find its buildings, write demo/
	$(BIN)/geotiler demo demo/

test: $(INSTALLED) ## run the tests; what is skipped, and why, is listed
	$(BIN)/python -m pytest -q -rs

lint: $(INSTALLED) ## ruff check, ruff format --check, mypy strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED) ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# PEER names an interpreter that has buildingregulariser, to be compared with.
bench-vectorize: $(INSTALLED) ## how good and fast vectorize is, as a table (PEER=python)
	$(BIN)/python tests/benchmarks/bench_vectorize.py $(if $(PEER),--peer $(PEER))

wheel: $(INSTALLED) ## build dist/geotiler-*.whl
	$(BIN)/python -m build --wheel --no-isolation

clean: ## remove what the targets above made, .venv included
	rm -rf $(VENV) build dist demo .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage htmlcov
