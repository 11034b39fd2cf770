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
.PHONY: help install demo test test-system docs lint format wheel clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

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

test-system: $(INSTALLED) ## tests with a real QGIS and a browser, from Debian's packages
	test -n "$(SKIP_APT)" || sudo apt-get install -y --no-install-recommends python3-qgis chromium man-db
	$(BIN)/python -m pytest -q -rs tests/system

docs: $(INSTALLED) ## build the documentation into site/, strictly
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[docs]'
	$(BIN)/mkdocs build --strict

lint: $(INSTALLED) ## ruff check, ruff format --check, mypy strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED) ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

wheel: $(INSTALLED) ## build dist/geotiler-*.whl
	$(BIN)/python -m build --wheel --no-isolation

clean: ## remove what the targets above made, .venv included
	rm -rf $(VENV) build dist site demo .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage htmlcov
