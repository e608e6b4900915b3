# Sets up .venv on first use; needs Python >= 3.11 with venv, and a C++ compiler for the compiled backend.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

# The first that runs and is new enough: a version manager's stand-in exists without a Python behind it.
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
	$$python -c '$(NEW_ENOUGH)' 2>/dev/null && echo $$python && break; done)

VENV := .venv
RUN := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed

# Which tests: a pytest -m expression; empty for all.
SELECT ?= not full
PYTEST = $(RUN) -m pytest -m "$(SELECT)"
# Every worker loads torch: more of them than this cost memory and start-up, and save no time.
PARALLEL := -n auto --maxprocesses 8

# What holds on every backend runs twice: the second time on kernels in Triton's interpreter.
INTERPRETED := tests/kernels tests/clip tests/conformance/test_backends.py tests/gradients \
	tests/engine/test_between_steps.py tests/engine/test_contract.py tests/engine/test_group_options.py \
	tests/engine/test_memory.py tests/engine/test_traps.py \
	tests/optim/test_golden.py tests/optim/test_layerwise.py tests/optim/test_papers.py tests/optim/test_variants.py \
	tests/properties tests/schedules/test_backends.py tests/testing/test_matrix.py

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | while IFS=$$'\t' read -r target line; do \
		printf '  make %-10s %s\n' "$$target" "$$line"; done

.PHONY: demo
demo: $(INSTALLED) ## train a small GPT with torch.optim and with this package, and compare
	$(RUN) -m torchopt_notes.demo

# Two processes: Triton reads TRITON_INTERPRET when the kernels are imported. Two threads per worker keep the workers
# out of each other's way and still run the compiled backend's parallel loops.
# tests/gpu has one suite, for the default selection and for make test-gpu.
.PHONY: test
test: export OMP_NUM_THREADS ?= 2
test: $(INSTALLED) ## quick tests
	$(PYTEST) $(PARALLEL) tests --ignore=tests/kernels --ignore=tests/gpu
	TRITON_INTERPRET=1 $(PYTEST) $(PARALLEL) $(INTERPRETED)
ifeq ($(SELECT),not full)
	$(PYTEST) tests/gpu || test $$? -eq 5
endif

.PHONY: test-full
test-full: ## all tests
	$(MAKE) test SELECT=

# Without a GPU every module skips itself, and pytest calls that an empty run (5).
.PHONY: test-gpu
test-gpu: $(INSTALLED) ## tests that need a GPU
	$(RUN) -m pytest tests/gpu || test $$? -eq 5

.PHONY: lint
lint: $(INSTALLED) ## format and lint, changing nothing
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .

.PHONY: types
types: $(INSTALLED) ## type check
	$(RUN) -m mypy

.PHONY: kernels
kernels: $(INSTALLED) ## compile all kernels for several GPUs and check what came out
	$(RUN) -m torchopt_notes.testing.codegen

.PHONY: mutations
mutations: $(INSTALLED) ## put deliberate mistakes into a copy of the package: does a test notice each?
	$(RUN) -m tests.mutations

.PHONY: docs
docs: $(INSTALLED) ## write the tables and plots of the documentation anew
	$(RUN) -m torchopt_notes.testing.matrix > docs/optimizers.md
	$(RUN) -m tests.mutations --page > docs/mutations.md
	$(RUN) docs/schedules.py
	$(RUN) -m tests.conformance.page > docs/conformance.md
	$(RUN) -m torchopt_notes.testing.pages > docs/parity-reference.md
	TRITON_INTERPRET=1 $(RUN) -m torchopt_notes parity --markdown docs/parity-table.md
	$(RUN) -m benchmarks page

.PHONY: bench
bench: $(INSTALLED) ## measure this machine: all cases, all optimizers, whatever other packages are installed
	$(RUN) -m benchmarks --out benchmarks/results

.PHONY: clean
clean: ## remove the environment, caches and outputs
	rm -rf $(VENV) build dist demo_output .pytest_cache .mypy_cache .ruff_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# pip is what a broken venv lacks: without Python's venv package the folder and its interpreter appear all the same.
$(VENV)/bin/pip:
	@test -n "$(PYTHON)" && $(PYTHON) -c '$(NEW_ENOUGH)' 2>/dev/null || { \
		echo "Python >= 3.11 is needed, found $(or $(shell $(or $(PYTHON),python3) --version 2>&1),none); say which to use: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV) || { \
		echo "$(PYTHON) cannot make a virtual environment; install its venv package (Debian: python3-venv)" >&2; exit 1; }

$(INSTALLED): $(VENV)/bin/pip pyproject.toml .ci/constraints.txt
	$(RUN) -m pip install --disable-pip-version-check -c .ci/constraints.txt -e '.[dev]'
	touch $@
