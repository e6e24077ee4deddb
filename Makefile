# The README's commands. Needs: make, git, Python >= 3.11 (choose another with PYTHON=python3.12).
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

# Imports are the larger part of a run: let Python keep its bytecode whatever the caller's shell says.
unexport PYTHONDONTWRITEBYTECODE

PROOFS := $(addprefix tests/procedures/test_,killed.py disk.py together.py downtime.py schedules.py machine.py) \
          tests/notebooks/test_rotation_100_days.py tests/test_session_keeper.py

.PHONY: env demo test soak bench check lab lock pylock.toml tools clean

env: $(READY)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"Python 3.11 or later is needed, this is {v.major}.{v.minor}. Try: make PYTHON=python3.12")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(READY)
	$(BIN)/runbook demo

lab: $(READY)
	$(BIN)/runbook lab

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.voice

tools:
	sh tests/tools.sh

test: check tools
	$(BIN)/pytest -n 3 --dist loadfile

# The proofs that nothing is lost, in full (`make test` runs them bounded): hours. Their figures are in docs/measured.md.
soak: $(READY) tools
	RUNBOOK_SOAK=1 $(BIN)/pytest -s --timeout=0 --show-capture=no $(PROOFS)
	RUNBOOK_SOAK=1 $(BIN)/pytest -m soak

# Ratios measured side by side; the table is kept in docs/bench. TOPIC=engine for one of them.
bench: $(READY) tools
	$(BIN)/python -m tests.bench $(TOPIC)

# Pins every package with its hashes; names no registry.
lock: $(READY)
	$(BIN)/python -m venv $(VENV)/lock && $(VENV)/lock/bin/pip install --quiet uv
	$(VENV)/lock/bin/uv pip compile pyproject.toml --extra dev --extra dask --extra notices --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-header --no-annotate --upgrade --quiet -o requirements.lock

# The same as PEP 751 writes it. It holds the addresses of the registry, so it is made where it is needed and not committed.
pylock.toml: $(READY)
	$(BIN)/python -m venv $(VENV)/lock && $(VENV)/lock/bin/pip install --quiet uv
	$(VENV)/lock/bin/uv pip compile requirements.lock --universal --python-version 3.11 --format pylock.toml --no-header --quiet -o $@

clean:
	rm -rf $(VENV) build .mypy_cache .pytest_cache .ruff_cache
