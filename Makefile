# `make help` lists the commands. Each makes its environment first, once: again only when
# pyproject.toml or a file of constraints changes.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
CONSTRAINTS := constraints.txt constraints-integrations.txt
# Processes of `make test`. A file is tested by one of them: its kernels are compiled once.
WORKERS ?= 2

.DEFAULT_GOAL := help
# Two targets may install into one environment.
.NOTPARALLEL:

.PHONY: help
help: ## list these commands
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' Makefile | expand -t 20

.PHONY: demo
demo: $(VENV)/.installed-experiments ## install, then reproduce Figure 1 on bundled data
	$(BIN)/adamas reproduce fig1 --preset demo

.PHONY: test
test: $(VENV)/.installed-all,dev,docs ## install, then run the whole test suite
	OMP_WAIT_POLICY=passive $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile \
	  --ignore tests/integrations

.PHONY: test-integrations
test-integrations: $(VENV)/.installed-integrations,dev ## install the trainers too, then train with each
	OMP_WAIT_POLICY=passive ADAMAS_TRAINERS=all $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile \
	  tests/integrations

.PHONY: check
check: $(VENV)/.installed-all,dev,docs ## format, lint, types, and imports that point down only
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/python -m pytest --quiet tests/test_floors.py

.PHONY: bench
bench: $(VENV)/.installed-experiments ## time the optimizer step beside torch's
	$(BIN)/adamas bench step --workload rl-mlp --workload mnist-mlp --workload one-81m

# Nothing is fetched, and a warning is an error. Pages that did not change since the last build are kept.
.PHONY: docs
docs: $(VENV)/.installed-all,dev,docs ## install, then build the documentation into build/docs
	$(BIN)/python -m sphinx --builder html --fail-on-warning --nitpicky --doctree-dir build/doctrees --quiet docs build/docs
	@echo "build/docs/index.html"

.PHONY: clean
clean: ## remove the environment, caches and build outputs
	rm -rf $(VENV) .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist docs/api docs/figures docs/rules
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp names the extras. It is written last, so a failed installation leaves none.
# Constraints come from the environment because only so do they reach the build backend too.
$(VENV)/.installed-%: pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "adamas needs Python 3.11 or newer, and $(PYTHON) is not: name one, as in make PYTHON=python3.12" >&2; \
	  exit 1; }
	@echo "Installing adamas[$*] into $(VENV): a minute or two, once"
	@$(PYTHON) -m venv $(VENV)
	@PIP_CONSTRAINT='$(CONSTRAINTS)' PIP_BUILD_CONSTRAINT='$(CONSTRAINTS)' \
	  $(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[$*]'
	@touch $@
