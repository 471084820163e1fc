# make demo [SECONDS=30]   from nothing to live detections
# make test                lint, types, native tests, everything with the real parts
# make train [MINUTES=70]  train the shipped detector again
# make clean               remove the virtual environment and what was built

PYTHON  ?= python3
SECONDS ?=
MINUTES ?= 70
WORKERS ?= 2
BIN     := .venv/bin

.PHONY: help demo test lint types pytest train clean
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# make/make/p' Makefile

INPUTS := pyproject.toml CMakeLists.txt deploy/setup.sh $(shell find preprocess_ext builders clients deploy -name '*.[ch]' -o -name '*.cpp' -o -name '*.map' -o -name '*.pyx' -o -name '*.pxd' -o -name CMakeLists.txt)

.venv/.demo: $(INPUTS)
	PYTHON=$(PYTHON) sh deploy/setup.sh demo

.venv/.test: $(INPUTS)
	PYTHON=$(PYTHON) sh deploy/setup.sh test

demo: .venv/.demo
	@$(BIN)/sightline demo $(if $(SECONDS),--seconds $(SECONDS))

test: lint types pytest

lint: .venv/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.test
	@$(BIN)/python tests/typing_tree.py build/typing
	MYPYPATH=build/typing $(BIN)/mypy --cache-dir build/mypy -p sightline

pytest: .venv/.test
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --cov --cov-report=term:skip-covered $(ARGS)

train: .venv/.demo
	$(BIN)/pip install --quiet --editable '.[train]'
	$(BIN)/sightline train --minutes $(MINUTES) --out model_repository/street_detect

clean:
	rm -rf .venv build .sightline demo_output
