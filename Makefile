# Two commands for a fresh machine: make demo, make test. Both build .venv if it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test check slow clean

demo: $(STAMP)  ## train on digits, measure, write reports/digits/ (four minutes)
	$(BIN)/ddpm-train digits --out runs/digits
	$(BIN)/ddpm-eval nll runs/digits --calibrate 32
	$(BIN)/ddpm-eval rate-distortion runs/digits --calibrate 32
	$(BIN)/ddpm-eval baselines runs/digits
	$(BIN)/ddpm-eval sample runs/digits
	$(BIN)/ddpm-eval training runs/digits
	$(BIN)/ddpm-eval report digits

test: $(STAMP)  ## the tests that CI runs
	$(BIN)/python -m pytest -q -m "not slow"

check: $(STAMP)  ## lint, format, types, tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(MAKE) test

slow: $(STAMP)  ## the tests that take minutes
	$(BIN)/python -m pytest -q -m slow

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: Python 3.11 or newer is needed"; \
	    echo "  fix: make PYTHON=/path/to/python3.11 demo"; exit 2; }
	@echo "Installing into $(VENV): about 6 GB with torch's CUDA build. For the CPU build (1 GB)"
	@echo "stop now, set PIP_EXTRA_INDEX_URL to torch's CPU index, and run make again."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $(STAMP)

clean:  ## delete what the tools made, but no run and no report
	rm -rf .mypy_cache .ruff_cache .pytest_cache build dist
