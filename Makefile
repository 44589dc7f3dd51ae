# make demo   a virtual environment, the package, and the example photographs upscaled into demo-output/
# make results   every table of docs/results, from data/val: hours; a run that was stopped continues.
#             MODELS=lite for one model, OPTIONS='--limit 2' for further options of lpnsr reproduce
# make test   lint, types, documentation and the whole test suite but for what is marked slow
# make docs   the documentation, as a site in site/; broken links end it
# make slow   the slow tests too (paper-size parity, long runs)

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
export OMP_NUM_THREADS ?= 2

export NO_MKDOCS_2_WARNING = 1

.PHONY: demo results test docs slow lint clean

$(VENV)/base.stamp: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e .
	touch $@

$(VENV)/dev.stamp: $(VENV)/base.stamp
	$(PIP) -e '.[train,upsamplers,serve,web,onnx,openvino,ncnn,scale,heif,jxl,video,dev]'
	touch $@

$(VENV)/docs.stamp: $(VENV)/base.stamp
	$(PIP) -e '.[docs]'
	touch $@

demo: $(VENV)/base.stamp
	$(BIN)/lpnsr upscale examples -o demo-output --compare --overwrite
	@echo
	@echo "Results and before/after pictures (*.compare.png) are in $(CURDIR)/demo-output"
	@echo "A photograph of your own: $(BIN)/lpnsr upscale photo.jpg -o photo_x4.png --compare"

MODELS ?= base lite
SETS := --lr lr_real=data/val/lr_real --lr lr_bicubic=data/val/lr_bicubic --hr data/val/hr

results: $(MODELS:%=results-%)

results-%: $(VENV)/dev.stamp
	$(BIN)/lpnsr reproduce all -n $* $(SETS) $(foreach m,$(filter-out $*,$(MODELS)),--method $(m)=$(m)) \
	    -o runs/results/$* $(OPTIONS)
	mkdir -p docs/results/$*
	cp runs/results/$*/*.md runs/results/$*/*.png docs/results/$*

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check src tests benchmarks docs/hooks examples
	$(BIN)/ruff format --check src tests benchmarks docs/hooks examples
	$(BIN)/mypy

docs: $(VENV)/docs.stamp
	$(BIN)/mkdocs build --strict
	@echo "The documentation is in $(CURDIR)/site/index.html; $(BIN)/mkdocs serve shows it with search"

test: lint docs
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not slow"

slow: $(VENV)/dev.stamp
	$(BIN)/python -m pytest

clean:
	rm -rf $(VENV) demo-output site build dist
