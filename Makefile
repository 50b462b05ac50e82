# make demo   set up, then fine-tune a real pre-trained BERT on the embedded reviews
# make test   set up, then run the tests        make check   lint, format, types
# make setup  the set-up alone (quick when done) make crash N=50   kill runs at random points
# make tiny   data for configs/tiny/            make fuzz N=20    spoilt files, N times as many as in make test
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup demo test check format crash fuzz tiny clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@echo "setting up $(VENV): about two minutes the first time"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[quickstart,dev]'
	@touch $@

demo: setup
	$(BIN)/ptm finetune configs/quickstart.yaml --overwrite
	@echo
	@echo 'Try next, with .venv/bin in your PATH:'
	@echo '  ptm eval runs/quickstart                          the same numbers again, from the saved model'
	@echo '  ptm finetune configs/quickstart_scratch.yaml      the same without pre-training: see the difference'
	@echo '  ptm finetune configs/digits_resnet.yaml           a residual network on handwritten digits'
	@echo '  ptm distill configs/digits_distill.yaml           which then teaches a much smaller one'
	@echo '  open runs/quickstart/report.html                  curves, confusions, worst mistakes'

# A process a core, with one thread each: two processes of two threads on two cores wait for each other.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

crash: N ?= 50
crash: setup
	$(BIN)/python benchmarks/crash/crash.py --kills $(N)

fuzz: N ?= 20
fuzz: setup
	PTM_FUZZ=$(N) $(BIN)/python -m pytest tests/hostile/test_mutations.py --timeout 3600

tiny: setup
	$(BIN)/python tests/tiny

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
