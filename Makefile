# The first that runs, is of one of these versions and can make environments; PYTHON=... is taken as it is.
FITS := import ensurepip, sys; sys.exit(sys.version_info[:2] not in [(3, 11), (3, 12), (3, 13)])
PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3; do \
    "$$name" -c '$(FITS)' >/dev/null 2>&1 && echo "$$name" && break; done)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEMO := $(VENV)/.installed-demo
# A cache that cannot be written, as in a home folder that is not there, is done without.
UV_INSTALL = cache=$$($(BIN)/uv cache dir) && mkdir -p "$$cache" 2>/dev/null && test -w "$$cache" || export UV_NO_CACHE=1; \
    $(BIN)/uv pip install --python $(BIN)/python --quiet -c constraints.txt --compile-bytecode

# Where pip finds packages, uv finds them, too.
define for_uv
ifneq ($($(1)),)
export $(2) ?= $(or $(3),$($(1)))
endif
endef
$(eval $(call for_uv,PIP_FIND_LINKS,UV_FIND_LINKS))
$(eval $(call for_uv,PIP_INDEX_URL,UV_DEFAULT_INDEX))
$(eval $(call for_uv,PIP_EXTRA_INDEX_URL,UV_INDEX))
$(eval $(call for_uv,PIP_EXTRA_INDEX_URL,UV_INDEX_STRATEGY,unsafe-best-match))
$(eval $(call for_uv,PIP_NO_INDEX,UV_NO_INDEX,1))
$(eval $(call for_uv,PIP_TRUSTED_HOST,UV_INSECURE_HOST))
$(eval $(call for_uv,PIP_CERT,SSL_CERT_FILE))
$(eval $(call for_uv,PIP_PROXY,ALL_PROXY))
# Where packages go, which Python runs and what it imports is decided here, whatever another
# environment has set.
unexport PIP_TARGET PIP_PREFIX PIP_ROOT PIP_DRY_RUN PIP_CONSTRAINT PIP_REQUIREMENT PIP_PYTHON
unexport PYTHONHOME PYTHONPATH PYTHONUSERBASE VIRTUAL_ENV CONDA_PREFIX
export PIP_USER := 0
# `dvc` and the `python` of its stages are those of the environment, activated or not.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help install repro mend scm scale plan seeds export wheel verify ui demo import-runs lint format test test-all

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

repro: $(INSTALLED) scm ## from a fresh machine to the tables: environment, `dvc repro`, the tables printed
	@python -m stages.integrity mend
	@python -m pipeline.orchestration.repro
	@results=results/$$(python -c 'from pipeline.config import params; print(params.scale())') && \
	    cat "$$results"/tables/*.md && python -m pipeline.reporting.headline && \
	    echo "All tables, figures and parameters: $$results/report.html; the runs: make ui; what the numbers say: docs/results.md"

install: $(INSTALLED) ## the environment alone, in .venv

mend: $(INSTALLED) scm ## what a killed `dvc` has left half-written
	@python -m stages.integrity mend

scale: $(INSTALLED) ## make SCALE (small, medium, own, one-gpu or paper) the parameters that run
	@python -m stages.scale $(SCALE)

plan: $(INSTALLED) ## what SCALE (or params.yaml's) fetches, computes and takes, before anything starts; ITEM=evaluate@vlmo-coco: one
	@python -m stages.plan $(or $(SCALE),$$(python -c 'from pipeline.config import params; print(params.scale())')) $(ITEM)

seeds: $(INSTALLED) scm ## the pipeline with three seeds, and the tables with mean and standard deviation
	python -m stages.seeds 1 2 3
	dvc repro

export: $(INSTALLED) ## trained models as folders that need nothing else, with model cards; ITEM=vqa: one
	python -m stages.export $(ITEM) $(FOLDER)

wheel: $(INSTALLED) ## the library `vlbeit`, which uses trained models anywhere, as dist/vlbeit-*.whl
	uv build --quiet --wheel --out-dir dist library

verify: $(INSTALLED) scm ## data, models and DVC's cache against the checksums taken when they were made
	@python -m stages.integrity verify

ui: $(INSTALLED) ## MLflow's runs, grouped by the paper's tables; PORT=5001: another port than 5000
	@python -m stages.ui $(PORT)

demo: $(DEMO) ## a page on this machine to try the models; PORT=7861: another port than 7860
	@python -m pipeline.demo $(PORT)

import-runs: $(INSTALLED) ## MLflow runs of the models in runs/ that have none, as after `dvc pull`
	@python -m pipeline.inference.import_runs

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

# A folder without git, such as a downloaded zip, is none that DVC takes, unless it is told so.
scm: $(INSTALLED)
	@if git rev-parse --git-dir >/dev/null 2>&1; then \
	    dvc config --local --unset core.no_scm 2>/dev/null || true; \
	else \
	    echo "no git repository: DVC runs without one (core.no_scm in .dvc/config.local)"; \
	    dvc config --local core.no_scm true; \
	fi

# Without compiled bytecode every process starts two to three times slower where PYTHONDONTWRITEBYTECODE is set.
$(INSTALLED): pyproject.toml constraints.txt
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
	    python="$(PYTHON)"; \
	    test -n "$$python" || { echo "no Python 3.11, 3.12 or 3.13 with its venv module on PATH: install one, or name it by PYTHON=..." >&2; exit 1; }; \
	    echo "$$python -m venv --clear $(VENV)"; \
	    $$python -m venv --clear $(VENV); \
	}
	$(BIN)/python -m pip install --quiet uv
	@test -x $(BIN)/uv || { echo "pip put uv elsewhere than in $(VENV): see \`pip config list\`"; exit 1; }
	$(UV_INSTALL) -e . --group dev
	touch $@

$(DEMO): $(INSTALLED)
	@echo "installing Gradio"
	@$(UV_INSTALL) --group demo
	@touch $@
