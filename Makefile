# make repro   from a fresh machine to the table: environment, `dvc repro`, the table printed
# make test    the tests
# make plan    what SCALE (or params.yaml's) fetches, computes and takes, before anything starts
# make seeds   the pipeline with three seeds, and the table with mean and spread
# make export  the trained models as folders that need nothing else, each with a model card; ITEM=vqa: one
# make ui      MLflow's runs, grouped by the paper's tables

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# A folder of wheels that pip knows is one for uv, too.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
# `dvc` and the `python` of its stages are those of the environment, activated or not.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: repro test plan seeds export ui

repro: $(INSTALLED)
	dvc repro
	@cat results/$(shell sed -n 's/^scale: *\([a-z]*\).*/\1/p' params.yaml)/tables/*.md

test: $(INSTALLED)
	python -m pytest

plan: $(INSTALLED)
	@python -m stages.plan $(SCALE)

seeds: $(INSTALLED)
	python -m stages.seeds 1 2 3
	dvc repro

export: $(INSTALLED)
	python -m stages.export $(ITEM) $(FOLDER)

ui: $(INSTALLED)
	@python -m stages.ui

# Without compiled bytecode every process starts two to three times slower where PYTHONDONTWRITEBYTECODE is set.
$(INSTALLED): pyproject.toml constraints.txt
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet -e . --group dev -c constraints.txt --compile-bytecode
	touch $@
