# Each target makes .venv by itself. PYTHON picks the interpreter (3.11 or newer).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO := $(VENV)/.installed-for-demo
SOURCES := lmx_daemon lmx_tui lmx_cli training tests scripts

.PHONY: demo test check fix snapshots bench soak clean

demo: $(DEMO) ## start the daemon, ask the built-in model, open the TUI
	@$(BIN)/lmx demo

test: $(STAMP) ## everything but the soaks; a test that fails is run once more, and the summary lists it
	$(BIN)/pytest -q -n 2 --dist loadfile --reruns 1 -rfER $(PYTEST_FLAGS)

check: $(STAMP) ## formats, lints, types, import rules, rules of the house
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/config_page.py --check
	$(BIN)/python scripts/cli_page.py --check
	$(BIN)/pytest -q tests/test_house.py

fix: $(STAMP) ## format, mend what ruff can, write generated pages
	$(BIN)/python scripts/config_page.py
	$(BIN)/python scripts/cli_page.py
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

snapshots: $(STAMP) ## accept the screens as they are now; look at the difference before committing
	$(BIN)/pytest -q -m snapshot --snapshot-update tests/tui

bench: $(STAMP) ## figures, side by side, of this machine
	$(BIN)/python scripts/bench.py

soak: $(STAMP) ## the long tests
	$(BIN)/pytest -q -m slow -n 2 --dist load --timeout 1500 $(PYTEST_FLAGS)

$(DEMO): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "lmx needs Python 3.11 or newer; set PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing lmx and its packages into $(VENV) ..."
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e .
	@touch $(DEMO)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "lmx needs Python 3.11 or newer; set PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(STAMP)
