# Everything runs in .venv, which the first target makes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# One thread per process: trials and tests run side by side instead.
export OMP_NUM_THREADS ?= 1

.PHONY: install demo test test-cpus test-exports test-faults bench-peers wheels schemas docs screenshots check format clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/mixopt run examples/demo/study.yaml --out runs/demo

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist worksteal

# Numbers must hold whatever instructions the machine has: the last bits differ between them.
NUMERIC := tests/space tests/laws tests/surrogate tests/propose tests/proxy
test-cpus: $(STAMP)
	ATEN_CPU_CAPABILITY=default OPENBLAS_CORETYPE=HASWELL \
	  $(BIN)/python -m pytest -n 2 --dist worksteal $(NUMERIC)
	if grep -q avx512f /proc/cpuinfo; then OPENBLAS_CORETYPE=SKYLAKEX \
	  $(BIN)/python -m pytest -n 2 --dist worksteal $(NUMERIC); \
	else echo "skipped: this machine has no AVX-512"; fi

# The trainers' own libraries load what is exported: an environment each, in the user's cache.
test-exports: $(STAMP)
	$(BIN)/python tests/export/verify.py

# Other optimizers, an environment each; hours of a core, and an interrupted run goes on from its file.
PEERS ?= benchmarks/results/peers.json
bench-peers: $(STAMP)
	$(BIN)/python benchmarks/peers.py --json $(PEERS)

# What takes minutes: machines and processes that die, full disks, and installing from nothing.
test-faults: $(STAMP)
	$(BIN)/python -m pytest -m faults

# For machines without an index that has mixopt: `pip install -c dist/constraints.txt dist/mixopt-*.whl`.
wheels: $(STAMP)
	rm -rf dist
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir dist .
	cp constraints.txt dist/

# After a change of a study, space, corpus or schedule file: editors read what is shipped.
schemas: $(STAMP)
	$(BIN)/python -c "from mixopt.tune.file_schemas import write_schemas; write_schemas()"

# The site in docs/_build: made from the code, warnings as errors, and searchable offline.
docs: $(STAMP)
	$(BIN)/python -m sphinx -W --keep-going -q -j 2 -b html docs docs/_build

# The pictures of the dashboard and of the demo's report, by Debian's Chromium; others lie in runs/.
screenshots: demo
	mkdir -p runs/screenshots
	MIXOPT_SCREENSHOTS=runs/screenshots $(BIN)/python -m pytest tests/service/test_dashboard.py
	cp runs/screenshots/study-1200-light.png docs/figures/dashboard.png
	chromium --headless=new --no-sandbox --disable-gpu --hide-scrollbars --window-size=1000,1560 \
	  --screenshot=docs/figures/report.png file://$(CURDIR)/runs/demo/report.html

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy mixopt

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) docs/_build runs .mypy_cache .ruff_cache .pytest_cache
