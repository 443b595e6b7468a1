PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# A folder of wheels that pip knows is one for uv, too.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
# `dvc` and the `python` of its stages are those of the environment, activated or not.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help repro scale plan seeds export ui lint format test test-all

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

repro: $(INSTALLED) ## from a fresh machine to the tables: environment, `dvc repro`, the tables printed
	dvc repro
	@cat results/$(shell sed -n 's/^scale: *\([a-z]*\).*/\1/p' params.yaml)/tables/*.md

scale: $(INSTALLED) ## make SCALE (small, medium, own or paper) the parameters that run
	@python -m stages.scale $(SCALE)

plan: $(INSTALLED) ## what SCALE (or params.yaml's) fetches, computes and takes, before anything starts
	@python -m stages.plan $(SCALE)

seeds: $(INSTALLED) ## the pipeline with three seeds, and the tables with mean and standard deviation
	python -m stages.seeds 1 2 3
	dvc repro

export: $(INSTALLED) ## trained models as folders that need nothing else, with model cards; ITEM=vqa: one
	python -m stages.export $(ITEM) $(FOLDER)

ui: $(INSTALLED) ## MLflow's runs, grouped by the paper's tables
	@python -m stages.ui

# All of them, so that one run says all there is to do. `:` is git's index: an edited params.yaml is no fault.
lint: $(INSTALLED) ## ruff, mypy, import-linter; git's params.yaml is params/small.yaml
	@failed=; \
	for check in "ruff check" "ruff format --check" "mypy" "lint-imports --no-logo" \
	        "git diff --exit-code :params.yaml :params/small.yaml"; do \
	    echo "$$check"; \
	    $$check || failed="$$failed '$$check'"; \
	done; \
	test -z "$$failed" || { echo "failed:$$failed"; exit 1; }

format: $(INSTALLED) ## what ruff can mend by itself, and the layout of lines
	ruff check --fix --exit-zero
	ruff format

test: $(INSTALLED) ## the tests, without those that are slow
	python -m pytest -m "not slow"

test-all: $(INSTALLED) ## all tests, and a reason for each that this machine cannot run
	python -m pytest -rs

# Without compiled bytecode every process starts two to three times slower where PYTHONDONTWRITEBYTECODE is set.
$(INSTALLED): pyproject.toml constraints.txt
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet -e . --group dev -c constraints.txt --compile-bytecode
	touch $@
