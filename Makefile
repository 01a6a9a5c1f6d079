# Two commands for a fresh machine: make demo, make test. Both build .venv if it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The digits' network is too small for two threads.
EVAL := $(BIN)/ddpm-eval --threads 1

PLAIN := tests/train/test_unet.py tests/train/test_winograd.py tests/train/test_inference.py \
  tests/train/test_classes.py tests/train/test_loop.py tests/eval/test_bench.py

.PHONY: demo demo-bound demo-samples test test-plain check slow faults faults-part gpu clean

demo: $(STAMP)  ## train on digits, measure, write reports/digits/ (four minutes)
	@test -d runs/digits || rm -rf reports/digits  # of a training on another machine
	$(BIN)/ddpm-train digits-likelihood --out runs/digits
	$(MAKE) -j 2 demo-bound demo-samples
	$(EVAL) report digits

demo-bound: $(STAMP)  # what needs test images or checkpoints
	$(EVAL) nll runs/digits --calibrate 32
	$(EVAL) rate-distortion runs/digits --calibrate 32
	$(EVAL) rate-distortion runs/digits --files -n 16 --set calibration.n=128
	$(EVAL) baselines runs/digits
	$(EVAL) reconstruct runs/digits
	$(EVAL) interpolate runs/digits --t 80
	$(EVAL) training runs/digits
	$(EVAL) watch runs/digits -n 256 --steps 20 --extractor digits-cnn --once

demo-samples: $(STAMP)  # what needs samples
	$(EVAL) sample runs/digits -n 512
	$(EVAL) fid runs/digits -n 512 --extractor digits-cnn
	$(EVAL) neighbours runs/digits --extractor digits-cnn
	$(EVAL) progressive runs/digits -n 64 --extractor digits-cnn

test: $(STAMP)  ## the tests that CI runs
	$(BIN)/python -m pytest -q -m "not slow"

test-plain: $(STAMP)  ## the tests of the networks once more, as on a CPU without fast paths
	DDPM_FAST=0 $(BIN)/python -m pytest -q -m "not slow" $(PLAIN)

check: $(STAMP)  ## lint, format, types, tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(MAKE) test
	$(MAKE) test-plain

faults: $(STAMP)  ## attack the real commands and print what held (ten minutes on two cores)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults

faults-part: $(STAMP)  ## a tenth of it, which CI runs (90 seconds)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults --share 0.1

slow: $(STAMP)  ## the tests that take minutes
	$(BIN)/python -m pytest -q -m slow

gpu: $(STAMP)  ## what a CUDA machine computes and how fast: tests/benchmarks/gpu.json (8 minutes)
	$(BIN)/python -m tests.benchmarks.gpu

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
