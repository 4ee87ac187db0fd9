# `make demo` and `make test` do everything on a fresh machine: they make .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.groundup-demo
STAMP_TEST := $(VENV)/.groundup-test
STAMP_DOCS := $(VENV)/.groundup-docs
FIGURES := $(foreach file,$(wildcard lessons/[0-9]*_*.py),runs/lessons/$(firstword $(subst _, ,$(notdir $(file))))/figures.json)
NATIVE := $(wildcard csrc/*.cpp csrc/*.h csrc/*.cu csrc/*.cuh csrc/bpe/*.cpp csrc/bpe/*.h)
CPP := $(filter %.cpp %.h %.cu %.cuh,$(NATIVE))
BUILD_INPUTS := pyproject.toml setup.py CMakeLists.txt cmake/cuda.cmake cmake/sanitize.cmake constraints.txt $(NATIVE)

.PHONY: demo test test-full sanitize bench docs lint format clean

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "groundup needs Python 3.11 or later; name one: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

$(STAMP): $(BIN)/python $(BUILD_INPUTS)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[train,bench]'
	@$(BIN)/python -m groundup._native
	@touch $@

$(STAMP_TEST): $(STAMP) $(BUILD_INPUTS)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[test]'
	@touch $@

$(STAMP_DOCS): $(BIN)/python $(BUILD_INPUTS)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[docs]'
	@touch $@

demo: $(STAMP)  ## text -> tokenizer -> GPT -> text, with a table of speeds
	$(BIN)/groundup demo

test: $(STAMP_TEST) lint  ## lint and every test that is not slow
	$(BIN)/python -m pytest -m 'not slow'

test-full: $(STAMP_TEST)  ## the slow tests
	$(BIN)/python -m pytest -m slow

sanitize: $(STAMP_TEST)  ## the native core under the compiler's sanitizers
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tools/sanitize.py

bench: $(STAMP_TEST)  ## every benchmark; writes benchmarks/results/
	$(BIN)/groundup bench

# A lesson that was never run here runs its fast part, seconds, so that its page has pictures; one
# that was keeps what it has. A figure that misses is shown on the page and stops nothing.
$(FIGURES): runs/lessons/%/figures.json: | $(STAMP_DOCS)
	-$(BIN)/groundup lesson $* --fast

docs: $(STAMP_DOCS) $(FIGURES)  ## a site in build/docs, with the pictures of the lessons' last runs
	$(BIN)/python -m sphinx -q -W --keep-going docs build/docs
	@echo build/docs/index.html

lint: $(STAMP_TEST)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $(CPP)
	$(BIN)/mypy

format: $(STAMP_TEST)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CPP)

clean:
	rm -rf build dist runs python/groundup.egg-info python/groundup/*.so
