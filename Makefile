# Medical Meadow. `make help` lists the targets; each sets up what it needs.

PYTHON ?= python3
VENV := $(if $(VIRTUAL_ENV),$(VIRTUAL_ENV),.venv)
BIN := $(VENV)/bin
# what is never imported need not be compiled: a fifth of the space and much of the time
PIP := $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check --constraint constraints.txt
# uv where it is at hand: the same packages, in a fraction of the time
INSTALL := $(if $(shell command -v uv),uv pip install --quiet --python $(BIN)/python --constraint constraints.txt,$(PIP))
EXTRAS := train,eval,ray,semantic,notebook,dev
DATA := $(VENV)/.meadow-data
DEMO := $(VENV)/.meadow-demo
ALL := $(VENV)/.meadow-all
WORKERS ?= 2
SAMPLE ?= 1
# what is compiled is kept: not every process of a test has to do it again
unexport PYTHONDONTWRITEBYTECODE
# one thread a process: the tests run two processes on two cores
ONE_THREAD := OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false
PYTEST := $(ONE_THREAD) $(BIN)/python -m pytest
# The second door: what loads a model, a cluster or a browser, or serves a whole Hub. A folder or file stands in one door;
# `make test` takes all that is not named here, and one tiny train-and-evaluate (test_demo).
MODELS := tests/training tests/evaluation tests/meadow/models tests/pipelines/test_study.py \
	tests/pipelines/test_held_out.py tests/faults/test_model_points.py \
	tests/security/test_weights.py tests/meadow/build/test_ray_engine.py tests/browser tests/docs \
	tests/meadow/hub tests/security/test_canary_hub.py tests/meadow/exams/test_semantic.py

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-data test test-models check lint types imports bench nightly nightly-tools fixtures clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11, 5) else \
		"Python 3.11.5 or newer is needed, this is %s: make ... PYTHON=python3.12" % sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)

$(DATA): pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing the data part into $(VENV)"
	@$(INSTALL) --editable .
	@touch $@

# torch first, by pip: the exact version lets it take a CPU build where one is at hand
$(DEMO): pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing what the demo runs into $(VENV)"
	@$(PIP) "torch==$$(sed -n 's/^torch==//p' constraints.txt)"
	@$(INSTALL) --editable ".[train,eval]"
	@touch $@ $(DATA)

$(ALL): $(DEMO)
	@echo "installing the rest into $(VENV); this takes some minutes"
	@$(INSTALL) --editable ".[$(EXTRAS)]"
	@touch $@

setup: $(ALL)  ## Install everything into .venv (or the active environment)

demo: $(DEMO)  ## Run the whole main job on the embedded samples, offline
	$(ONE_THREAD) $(BIN)/meadow demo --out demo

demo-data: $(DATA)  ## Only the data part of the demo; never installs torch
	$(BIN)/meadow demo --data --out demo

test: $(ALL)  ## What a data user needs, and one tiny train-and-evaluate (no network, no GPU)
	$(PYTEST) -n $(WORKERS) --dist worksteal $(addprefix --ignore=,$(MODELS)) tests

test-models: $(ALL)  ## The rest: training, evaluation, parity, DDP, Ray, the Hub, the browser
	$(PYTEST) -n $(WORKERS) --dist loadfile $(MODELS)

check: lint types imports test test-models  ## Everything that CI runs

lint: $(ALL)  ## Format and lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(ALL)  ## mypy --strict on the four packages
	$(BIN)/mypy

imports: $(ALL)  ## The import contracts of the house
	$(BIN)/lint-imports

bench: $(ALL)  ## Benchmarks against peers: make bench BENCH=posts SIZE_MB=100
	PYTHONPATH=tests $(BIN)/python -m benchmarks $(BENCH) $(if $(SIZE_MB),--size-mb $(SIZE_MB)) $(if $(RECORD),--record)

nightly: $(ALL)  ## The slow suites too; SAMPLE=k takes every k-th fault and 1/k of the inputs
	@$(ONE_THREAD) PYTHONPATH=tests MEADOW_SAMPLE=$(SAMPLE) $(BIN)/python -m support.nightly \
		-n $(WORKERS) --dist loadfile $(TESTS)

nightly-tools:  ## Say which programs the slow suites use
	@echo "apt-get install chromium mediawiki php-cli php-sqlite3 php-mbstring php-xml php-intl gcc"

fixtures: $(ALL)  ## Write the golden rows of the samples anew, for review
	MEADOW_UPDATE_FIXTURES=1 $(PYTEST) tests/contract -k golden

clean:  ## Remove what was built here
	rm -rf build demo dist .bench .mypy_cache .ruff_cache .pytest_cache
