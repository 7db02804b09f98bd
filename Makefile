# Everything runs in .venv, which the first target that needs it sets up.
PYTHON ?= python3
# Processes that share the test files; tests/conftest.py says how.
WORKERS ?= 2
BIN = .venv/bin
STAMP = .venv/.installed
PYTEST = $(BIN)/python -m pytest

.PHONY: setup demo test test-all test-long check format docs site docs-serve clean

setup: $(STAMP)

# constraints.txt holds the versions that the tests ran with. `make setup PIP_ARGS="--extra-index-url ..."` for others.
$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) is missing; install Python 3.11 or newer" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "make: $$($(PYTHON) --version) is too old; give PYTHON=python3.11 or newer" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(PIP_ARGS) -e '.[dev,docs,onnx]'
	@touch $@

demo: setup
	$(BIN)/python orchestrator/run.py demo

# About 14 minutes on two cores.
test: setup
	$(PYTEST) -n $(WORKERS) -m "not slow and not long"

# The slow tests, which `make test` leaves out: about half an hour more.
test-all: setup
	$(PYTEST) -n $(WORKERS) -m "slow and not long"

# Thousands of searches, hundreds of random kills, Slurm and a cluster of three hosts: hours.
test-long: setup
	$(PYTEST) -m long -s

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(PYTEST) -q tests/test_imports.py
	$(BIN)/python .ci/audit
	$(MAKE) --no-print-directory site

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: setup
	$(BIN)/pcdarts columns > docs/columns.md
	$(BIN)/pcdarts report docs/results/fashion-14
	$(BIN)/python docs/gallery.py

# The documentation site, in build/site; a warning is an error, such as a link that leads nowhere.
site: setup
	$(BIN)/sphinx-build -b html -W --keep-going -q docs build/site

# The same on http://127.0.0.1:8000, built again whenever a file changes.
docs-serve: setup
	$(BIN)/sphinx-autobuild --host 127.0.0.1 --port 8000 --watch pcdarts --watch analysis --watch orchestrator \
	    docs build/site

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
