# make book [SCALE=smoke|quick|paper]    execute all pages and build the HTML book
# make runs SCALE=paper [PAGE=break_even/01_model] [SHARDS=8] [PROFILE=profiles/slurm]    compute runs without pages
# (both: FLAGS=... goes to snakemake, such as FLAGS=-n, which only says what would be done)
# make bench [ONLY="gradients spectra curvature"]    speed beside other libraries, as ratios; JSON in build/bench/
# make test | lint | check-book | clean | lock
PYTHON ?= python3
SCALE  ?= quick
CORES  ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu)
SHARDS ?= 1
PAGE   ?=
PROFILE ?=
FLAGS  ?=
ONLY   ?=

BIN := .venv/bin
export OMP_NUM_THREADS := 1
export MKL_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1
export PATH := $(CURDIR)/.venv/bin:$(PATH)

# Snakemake's own lock outlives a killed process; tools/alone.py holds one that does not.
SNAKEMAKE = $(BIN)/snakemake --nolock --rerun-incomplete --rerun-triggers mtime input params --keep-going $(FLAGS)

.PHONY: book runs test lint check-book bench clean lock

book: .venv/.ready
	@$(BIN)/python tools/alone.py build/book-$(SCALE).lock $(SNAKEMAKE) --cores $(CORES) --quiet host reason rules --config scale=$(SCALE) -- book
	@echo "The book is at $(CURDIR)/build/$(SCALE)-html/_build/html/index.html"

runs: .venv/.ready
	@$(SNAKEMAKE) $(if $(PROFILE),--profile $(PROFILE),--cores $(CORES)) --quiet host reason --forcerun compute --config scale=$(SCALE) page=$(PAGE) shards=$(SHARDS) -- runs

test: .venv/.ready
	$(BIN)/pytest -n $(CORES) --dist loadfile -m "not browser"

lint: .venv/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# The built book in headless Chromium: links, alt text, console, network, search, dark mode, phone width.
check-book: .venv/.ready
	SGDSCOPE_HTML=build/$(SCALE)-html/_build/html SGDSCOPE_REQUIRE_BROWSER=1 $(BIN)/pytest tests/book -m browser

# A peer that is not installed is a named gap: .venv/bin/pip install '.[bench]' brings what installs.
bench: .venv/.ready
	$(BIN)/python -m benchmarks $(ONLY)

# The environment, from exact versions. A failed installation leaves no marker and is done again.
.venv/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "sgdscope needs Python 3.11, 3.12 or 3.13; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.11"; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	@echo "installing the exact versions of requirements.lock into .venv (minutes; PyTorch is large)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

# New exact versions, from pyproject.toml's ranges, in a fresh environment; PyTorch first, so that its version is ours.
TORCH ?= 2.13.0
lock:
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/pip install --quiet --disable-pip-version-check torch==$(TORCH)
	build/lock/bin/pip install --quiet --disable-pip-version-check '.[hub,umap,book,test]'
	{ echo "# Made by 'make lock'. Without local suffixes and hashes, so that every platform installs its own build."; \
	  build/lock/bin/pip list --format=freeze --exclude sgdscope --exclude pip --exclude setuptools | grep -v '^nvidia-\|^triton=\|^cuda-' | sed 's/+[a-z0-9.]*$$//' | sort -f; } > requirements.lock
	rm -rf build/lock

# Runs are kept (.runs): they are what took time.
clean:
	rm -rf build .snakemake
