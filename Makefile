# make demo       two simulated models behind the gateway, a streamed answer, serving until Ctrl-C
# make test       everything that needs no GPU, no real vLLM and no deployment programs
# make lint       ruff, formatting, mypy strict
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed-

.DEFAULT_GOAL := help
.PHONY: help demo test lint format clean

help:
	@sed -n 's/^# make/make/p' Makefile

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "vllm-gateway needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	@echo "creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(STAMP)run: $(BIN)/python pyproject.toml
	@echo "installing vllm-gateway into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(STAMP)dev: $(BIN)/python pyproject.toml
	@echo "installing vllm-gateway and its test tools into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(STAMP)run

demo: $(STAMP)run
	@$(BIN)/vllm-gateway demo

test: $(STAMP)dev
	$(BIN)/python -m pytest -m "not real and not deploy"

lint: $(STAMP)dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info
