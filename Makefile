PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# A process a core, with one thread each: two processes of two threads on two cores wait for each other.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast coverage check format bench bench-gpu crash fuzz tiny clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: $(STAMP)  ## .venv with ptm and the versions of constraints.txt; quick when it is there

$(STAMP): pyproject.toml constraints.txt
	@echo "setting up $(VENV): about two minutes the first time"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[quickstart,imagenet,dev]'
	@touch $@

demo: setup  ## fine-tune a real pre-trained BERT on embedded reviews, and an ImageNet network on digits
	$(BIN)/ptm finetune configs/quickstart.yaml --overwrite
	$(BIN)/ptm finetune configs/quickstart_images.yaml --overwrite
	@echo
	@echo 'Try next, with .venv/bin in your PATH:'
	@echo '  ptm eval runs/quickstart                          the same numbers again, from the saved model'
	@echo '  ptm finetune configs/quickstart_scratch.yaml      the same without pre-training: see the difference'
	@echo '  ptm finetune configs/quickstart_images_scratch.yaml   likewise'
	@echo '  ptm finetune configs/digits_resnet.yaml           a residual network on handwritten digits'
	@echo '  ptm distill configs/digits_distill.yaml           which then teaches a much smaller one'
	@echo '  open runs/quickstart/report.html                  curves, confusions, worst mistakes'

check: setup  ## lint, format and types; changes nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup  ## let ruff repair what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: setup  ## every test
	$(PYTEST) -n auto

test-fast: setup  ## what answers within a minute: no test marked slow or processes
	$(PYTEST) -n auto -m "not slow and not processes"

coverage: setup  ## lines and branches that the tests of this process reach (those marked processes are not counted)
	$(PYTEST) -n auto -m "not processes" --cov --cov-report=term:skip-covered --cov-report=html:build/coverage

bench: setup  ## ptm beside its peers, into benchmarks/results.md; ARGS=--quick: fewer examples
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --requirement benchmarks/requirements.txt
	$(BIN)/python benchmarks/bench.py $(ARGS)

bench-gpu: setup  ## on a GPU: speed, MFU, beside Trainer, kill and resume, recipes for SST-2 and CIFAR-10
	$(BIN)/python benchmarks/gpu.py $(ARGS)

crash: N ?= 50
crash: setup  ## kill runs at N random points (N=50) and resume them
	$(BIN)/python benchmarks/crash/crash.py --kills $(N)

fuzz: N ?= 20
fuzz: setup  ## spoilt files, N times as many as in make test (N=20)
	PTM_FUZZ=$(N) $(BIN)/python -m pytest tests/hostile/test_mutations.py --timeout 3600

tiny: setup  ## data for configs/tiny/
	$(BIN)/python tests/tiny

clean:  ## remove .venv and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .coverage build
