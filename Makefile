# make demo   set up, fetch the demo weights, audit demo:base against demo:masked
# make test   set up with test dependencies, then lint, types and all tests, two files at a time with a thread each
# make calibration  make some 260 models whose truth is known, audit each with two seeds, write the tables in
#             docs/calibration and the rates that findings quote; about two and a half hours on two cores
# make bench  set up the peers in .bench (or BENCH_PEERS), run every benchmark, write benchmarks/RESULTS.md; takes hours
# Nothing else is needed before any: they make .venv with Python 3.11 or newer.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint calibration bench clean

demo: $(VENV)/.demo
	$(BIN)/unmask audit demo:base demo:masked

test: $(VENV)/.test lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright

CALIBRATION := runs/calibration
TABLES := $(addsuffix .csv,audits verdicts kinds untouched beneath cards claims coverage mechanisms replicates)
calibration: $(VENV)/.test
	$(BIN)/unmask lab calibrate -o $(CALIBRATION)
	mkdir -p docs/calibration
	cd $(CALIBRATION)/tables && cp $(TABLES) page.html $(CURDIR)/docs/calibration/
	cp $(CALIBRATION)/tables/rates.json src/unmask/verdict/calibration.json

# BENCH_PEERS=DIR takes peers that were set up elsewhere.
ifndef BENCH_PEERS
PEERS := .bench/.ready
endif

bench: $(VENV)/.demo $(PEERS)
	$(BIN)/python -m benchmarks --full --write

.bench/.ready: benchmarks/peers/setup.sh
	benchmarks/peers/setup.sh .bench
	touch $@

# torch comes first and pinned: an unpinned one can pull gigabytes of CUDA.
$(VENV)/.torch: constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt torch
	touch $@

$(VENV)/.demo: $(VENV)/.torch pyproject.toml
	$(BIN)/python -m pip install -q -c constraints.txt -e .
	touch $@

$(VENV)/.test: $(VENV)/.torch pyproject.toml
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[lab,test]'
	touch $@

clean:
	rm -rf $(VENV) .bench runs
