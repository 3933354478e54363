# make demo         simulated models behind the gateway, a streamed answer, serving until Ctrl-C
# make test         everything that needs no GPU, no real vLLM and no deployment programs
# make test-real    the tests on real vLLM for CPU; installs it and makes its models first (2 minutes and 2.5 GB, once)
# make test-deploy  the files of deploy/ with a real Prometheus, nginx and HAProxy (as root, installs them from Debian)
# make chaos        10,000 requests and 500 faults, every request accounted for (10 minutes)
# make fuzz         10 minutes of odd streams, bodies and configuration files
# make bench        the gateway beside nginx, HAProxy, Envoy and the Rust routers, as ratios (an hour; see loadtests/README.md)
# make load         Locust users against a running demo, for a minute; PROFILE=rag and others: loadtests/README.md
# make soak         a million requests or 30 minutes: is memory flat?
# make lint         ruff, formatting, mypy strict
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed-
# tests at once: they wait more than they compute. By file, in order, so that the long ones begin first
JOBS   := 3
BESIDE  = -n $(JOBS) --dist loadfile --no-loadscope-reorder
VLLM   := .venv-vllm
MODELS := .cache/tiny-models
ONLY   :=
PROFILE := chat

.DEFAULT_GOAL := help
.PHONY: help demo test prepare test-real test-deploy chaos fuzz lint format bench load soak wheel clean

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
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,load,deploy]'
	@touch $@ $(STAMP)run

demo: $(STAMP)run
	@$(BIN)/vllm-gateway demo

test: $(STAMP)dev
	$(BIN)/python -m pytest $(BESIDE) -m "not real and not deploy"

$(VLLM)/recipe.sha256: tests/real/install.sh tests/real/requirements-vllm.txt
	@PYTHON="$(PYTHON)" tests/real/install.sh $(VLLM)

$(MODELS)/made: tests/real/tiny_models.py $(VLLM)/recipe.sha256
	@echo "making the models for the real tests in $(MODELS)"
	@$(VLLM)/bin/python tests/real/tiny_models.py $(MODELS)
	@touch $@

test-real: $(STAMP)dev $(VLLM)/recipe.sha256 $(MODELS)/made
	$(BIN)/python -m pytest $(BESIDE) -m real tests/real $(ONLY)

test-deploy: $(STAMP)dev
	@tests/deploy/install.sh
	$(BIN)/python -m pytest $(BESIDE) -m deploy tests/deploy $(ONLY)

# What the tests with real programs need, without the tests: mostly waiting for the network.
prepare: $(VLLM)/recipe.sha256 $(MODELS)/made
	@tests/deploy/install.sh

chaos: $(STAMP)dev
	$(BIN)/python -m tests.chaos

fuzz: $(STAMP)dev
	$(BIN)/python -m tests.fuzz

bench: $(STAMP)dev
	$(BIN)/python -m loadtests.bench run
	$(BIN)/python -m loadtests.bench report

load: $(STAMP)dev
	@LOADTEST_PROFILE=$(PROFILE) LOADTEST_ARRIVAL=$(ARRIVAL) $(BIN)/locust -f loadtests/locustfile.py --headless --only-summary $(if $(USERS),-u $(USERS)) $(if $(TIME),-t $(TIME)) $(if $(PROCESSES),--processes $(PROCESSES) --master-bind-host 127.0.0.1)

soak: $(STAMP)dev
	$(BIN)/python -m loadtests.soak

lint: $(STAMP)dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The built package, installed where no checkout can help it.
wheel: $(STAMP)dev
	@rm -rf build dist .venv-wheel
	@$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	@$(PYTHON) -m venv .venv-wheel
	@.venv-wheel/bin/python -m pip install --quiet --disable-pip-version-check dist/*.whl
	@cd / && $(CURDIR)/.venv-wheel/bin/vllm-gateway demo --once > $(CURDIR)/dist/demo.txt && grep 'pieces in' $(CURDIR)/dist/demo.txt
	@rm -rf .venv-wheel

clean:
	rm -rf $(VENV) .venv-wheel .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info
