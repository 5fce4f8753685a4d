# Two commands do everything on a fresh machine with Python 3.11 to 3.13 and make:
#   make demo     set up, then the whole pipeline on real flights
#   make test     set up, then the test suite
PYTHON ?= python3
# Extra address for the installer where PyTorch's CPU builds are found: on Linux without a GPU it saves gigabytes.
# See the install page of PyTorch for it, then: make demo TORCH_INDEX=ADDRESS
TORCH_INDEX ?=
PORT ?= 8000
BIN := .venv/bin
PIP := $(if $(TORCH_INDEX),PIP_EXTRA_INDEX_URL=$(TORCH_INDEX) )$(BIN)/python -m pip --quiet --disable-pip-version-check
JOB := PYTHONUNBUFFERED=1 $(BIN)/python
# Threads that wait by spinning take turns with the other stream of tests.
PYTEST := OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest
KEEP ?=

.DEFAULT_GOAL := help
.PHONY: help install demo serve test test-long check fmt docs bench clean

help:  ## List every verb
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: .stamps/install  ## Make .venv with the locked versions and raypipe itself
.stamps/install: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) else f"raypipe needs Python 3.11 to 3.13, this is {v[0]}.{v[1]}; make PYTHON=python3.11 ...")'
	test -d .venv || $(PYTHON) -m venv .venv
	$(PIP) install -r requirements.lock
	$(PIP) install --no-deps --no-build-isolation -e .
	@mkdir -p .stamps && touch $@

demo: install  ## The whole pipeline on 336,776 real flights (KEEP=1 keeps the endpoint up, PORT=8000)
	@$(JOB) jobs/pipeline.py experiment=flights serving.port=$(PORT) $(if $(KEEP),deploy.keep=true)

serve: install  ## Start the champion's endpoint again and stay with it
	@$(JOB) jobs/deploy.py experiment=flights serving.port=$(PORT) deploy.keep=true

# Two streams for two cores, by the first letter of the file; tests that need a cluster of their own come before a shared one.
test: install  ## The test suite, about ten minutes
	@$(PYTEST) -m "not long" tests/test_[a-n]*.py > .stamps/test.log 2>&1 & beside=$$!; \
	$(PYTEST) -m "cluster and not long" tests/test_[o-z]*.py; a=$$?; \
	$(PYTEST) -m "not cluster and not long" tests/test_[o-z]*.py; b=$$?; \
	wait $$beside; c=$$?; cat .stamps/test.log; test "$$a $$b $$c" = "0 0 0"

test-long: install  ## The tests that take longest; CI runs them after make test
	@$(PYTEST) -m long

check: install  ## Lint, format, types, import layers, generated docs; changes nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/generate.py --check

fmt: install  ## Format, and mend what the linter can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: install  ## Write the generated pages: settings and JSON Schemas
	$(BIN)/python docs/generate.py

bench: install  ## Measure the figures of the README (ONLY=name runs one)
	$(BIN)/python -m benchmarks $(if $(ONLY),--only $(ONLY))

clean:  ## Remove the environment, caches and all state of the demo
	rm -rf .venv .stamps .raypipe dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
