# make demo   a virtual environment, the package, and the example photographs upscaled into demo-output/
# make test   lint, types and the whole test suite but for what is marked slow
# make slow   the slow tests too (paper-size parity, long runs)

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
export OMP_NUM_THREADS ?= 2

.PHONY: demo test slow lint clean

$(VENV)/base.stamp: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e .
	touch $@

$(VENV)/dev.stamp: $(VENV)/base.stamp
	$(PIP) -e '.[train,upsamplers,serve,dev]'
	touch $@

demo: $(VENV)/base.stamp
	$(BIN)/lpnsr upscale examples -o demo-output --compare --overwrite
	@echo
	@echo "Results and before/after pictures (*.compare.png) are in $(CURDIR)/demo-output"

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest -m "not slow"

slow: $(VENV)/dev.stamp
	$(BIN)/python -m pytest

clean:
	rm -rf $(VENV) demo-output build dist
