PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

# compiled once, whatever the environment says: fleets start processes by the hundred
unexport PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX := $(abspath $(VENV))/pycache

.PHONY: install demo test lint bench soak chaos soak-short mnist fuzz docs clean

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Parley needs Python 3.11 or newer: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

demo: install
	@$(BIN)/parley demo $(ARGS)

test: install
	@$(BIN)/python -m pytest -n 4 $(ARGS)

# the type checker needs to see the root under its package name
lint: install
	@mkdir -p .package && ln -sfn .. .package/parley
	@$(BIN)/ruff check .
	@$(BIN)/mypy

bench: install
	@$(BIN)/python -m parley.launch.bench $(ARGS)

# ten minutes; ARGS="--seconds 60 --agents 4" for less
soak: install
	@$(BIN)/python -m parley.launch.bench.soak $(ARGS)

# a few minutes, everything happens to agents at work; ARGS="--faults 30 --tasks 100 --agents 5" for less
chaos: install
	@$(BIN)/python -m parley.launch.bench.chaos $(ARGS)

# 2,000 seeds on virtual time, on two cores; ARGS="--faults harsh --first-seed 2001" for others
soak-short: install
	@$(BIN)/parley simulate --seeds 2000 --jobs 2 $(ARGS)

# the demonstration on MNIST, whose files must lie in ../shared/data/mnist
mnist: install
	@PARLEY_LONG=1 $(BIN)/python -m pytest tests/test_demo.py -k mnist

# a minute; ARGS="--seconds 600" for more. atheris is not there for every Python: without it hypothesis does the work
fuzz: install
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check atheris 2>/dev/null || true
	@$(BIN)/python tests/fuzz_decoder.py $(ARGS)

# the pages that are made from the program: commands, settings, log, diagrams
docs: install
	@$(BIN)/python -m parley.agents.events > docs/log.schema.json
	@$(BIN)/python -m parley.launch.reference

clean:
	rm -rf $(VENV) .package build parley.egg-info
