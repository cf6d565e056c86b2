# The commands of this project. `make` lists them.
SHELL := bash
PYTHON ?= python3
VENV := .venv
# Processes that share the tests, one more than cores since tests of servers wait; 0: all in one.
JOBS ?= 3
PYTEST := OMP_WAIT_POLICY=PASSIVE python -m pytest # threads that wait leave the cores to others
PLAIN := not (model or process or server or browser)
BENCHMARKS := extract sweep scale kmeans head regret accuracy evidence levers grounding drift serving load neighbours observers
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export DVC_NO_ANALYTICS := 1
export DO_NOT_TRACK := 1
# What is built from source is built with tools of hashes.txt too.
UV := $(VENV)/bin/uv pip install --quiet --compile-bytecode --python $(VENV)/bin/python --build-constraints hashes.txt
# uv takes hashes from a file of constraints and refuses what has none, so one file serves every extra.
PACKAGES := $(UV) --require-hashes --constraints hashes.txt --requirements pyproject.toml --extra
RESOLVE := $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate --extra dev pyproject.toml

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast test-deep test-faults lint bench stack-up stack-down stack-status stack-login serve constraints audit clean preflight

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.installed ## set up and run the whole job: images to a registered model and its report
	@protoquant config check
	@set -o pipefail; PYTHONUNBUFFERED=1 dvc repro | grep --line-buffered -v -e '^Use `dvc push`' -e '^$$'
	@git diff --quiet -- dvc.lock || echo "note: dvc.lock changed: other sources, values or versions than committed, or another machine's rounding; commit it before a promotion"

test: $(VENV)/.installed-dev lint ## set up, then lint, types, import contracts and the whole test suite
	@$(PYTEST) -n $(JOBS) --durations=20

test-fast: $(VENV)/.installed-dev ## the plain tests alone: no process, server, browser or real backbone (1 minute)
	@$(PYTEST) -n 2 -m "$(PLAIN)"

test-deep: $(VENV)/.installed-dev ## properties tried on forty times as many examples
	@$(PYTEST) -n $(JOBS) --hypothesis-profile=deep -m "not (process or server or browser)"

test-faults: $(VENV)/.installed-dev ## kill processes and stop servers of a whole stack in the middle of runs (15 minutes)
	@python -m pytest -o addopts=--import-mode=importlib tests/faults

lint: $(VENV)/.installed-dev ## formatting, lint, types, import contracts, spelling
	@ruff format --check .
	@ruff check .
	@mypy
	@lint-imports --no-logo
	@git ls-files -z | xargs -0 codespell

stack-up: $(VENV)/.installed-stack ## start PostgreSQL, S3, MLflow, Prefect, Ray and the runner on loopback; infra/README.md
	@python -m infra.stack up

stack-down: ## stop them all; data stays in .stack/
	@test ! -x $(VENV)/bin/python || python -m infra.stack down

stack-status: ## say which of them is healthy, and where
	@python -m infra.stack status

stack-login: ## print the logins of its pages
	@python -m infra.stack login

serve: $(VENV)/.installed ## offer the flows to the Prefect server of PREFECT_API_URL and run what is started there
	@python -m flows.serve

bench: $(VENV)/.installed-dev ## the measurements of benchmarks/, each printed as a table of ratios
	@for name in $(BENCHMARKS); do python -m benchmarks.$$name || exit 1; done

constraints: $(VENV)/bin/uv ## resolve constraints.txt anew within the versions it names, and hashes.txt from it
	@$(RESOLVE) --constraints constraints.txt --output-file constraints.txt
	@$(RESOLVE) --constraints constraints.txt --output-file hashes.txt --generate-hashes

# Of its messages the last one alone: where PyPI is away, the others are a stack trace.
audit: $(VENV)/.installed-dev ## ask PyPI for known faults of the pinned versions
	@set -o pipefail; { pip-audit --strict --progress-spinner off --disable-pip --require-hashes --requirement hashes.txt 2>&1 >&3 \
		| tail -n 1 >&2; } 3>&1

clean: ## remove the virtual environment and every cache, keep artifacts and models
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache *.egg-info

preflight:
	@$(PYTHON) infra/preflight.py

# pip brings uv, uv installs the pinned set: much faster, and it compiles bytecode.
$(VENV)/bin/uv: | preflight
	@$(PYTHON) -m venv $(VENV)
	@sed -n '/^uv==/,/[^\\]$$/p' hashes.txt | $(VENV)/bin/python -m pip install --quiet --require-hashes --requirement /dev/stdin

$(VENV)/.installed: pyproject.toml hashes.txt | $(VENV)/bin/uv preflight
	@echo "installing the pinned packages into $(VENV), about 3 GB to download"
	@$(PACKAGES) all
	@$(UV) --no-deps --editable .
	@touch $@

$(VENV)/.installed-stack: $(VENV)/.installed
	@$(PACKAGES) stack
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@$(PACKAGES) dev
	@touch $@
