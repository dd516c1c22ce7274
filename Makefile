# Everything runs from .venv, which each target sets up as far as it needs; the stamps make the second time quick.
PYTHON ?= python3
VENV ?= .venv
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check
# The three distributions, each with what its metadata is made of. Always together: none of them is on an index.
DEVICE := ./edge_component
EMULATOR := ./runner/emflow_emulator
METADATA := $(wildcard pyproject.toml hatch_build.py $(DEVICE)/*.toml $(DEVICE)/hatch_build.py $(EMULATOR)/*.toml \
	$(EMULATOR)/hatch_build.py schema/emflow_schema/version.py)

.PHONY: help demo test fast device-test e2e lint format dist bench clean venv
.DELETE_ON_ERROR:

help:
	@echo "make demo   the whole workflow on this machine: camera, cloud, device, ten results"
	@echo "make test   the fast tests"
	@echo "make fast   the fast tests that failed last time, or else all of them, up to the first failure"
	@echo "make device-test PYTHONS='3.9 3.13'   the tests that need only what a board has, on these versions of Python"
	@echo "make e2e    the tests that start the whole of it (peers need Mosquitto, GStreamer's RTSP server, Chromium)"
	@echo "make lint   format, lint, types, contracts between packages, Python 3.9 on the device side"
	@echo "make format format all files, mend what can be mended"
	@echo "make dist   wheels and source distributions of all three distributions, in dist/"
	@echo "make bench  the benchmarks of benchmarks/README.md"
	@echo "make clean  remove .venv and what was built"

demo: $(VENV)/.local
	$(VENV)/bin/emflow up workflows/demo.yaml --results 10

test: $(VENV)/.test
	$(VENV)/bin/python -m pytest -m "not e2e and not peer"

fast: $(VENV)/.test
	$(VENV)/bin/python -m pytest -m "not e2e and not peer" --last-failed --exitfirst

PYTHONS ?= 3.9 3.13
device-test:
	$(foreach version,$(PYTHONS),tools/device_tests.sh $(version) &&) true

e2e: $(VENV)/.test
	$(VENV)/bin/python -m pytest -n2 -m "(e2e or peer) and not alone"
	$(VENV)/bin/python -m pytest -n0 -m alone

lint: $(VENV)/.lint
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/mypy --config-file tests/mypy.ini
	$(VENV)/bin/lint-imports
	$(VENV)/bin/vermin --quiet --no-tips --eval-annotations --violations -t=3.9- edge_component schema proto

format: $(VENV)/.lint
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

# Each wheel is built from its source distribution. Without isolation: one download of the build backend for all three.
dist: $(VENV)/.build
	rm -rf dist
	for project in $(DEVICE) . $(EMULATOR); do \
		$(VENV)/bin/python -m build --no-isolation --outdir dist $$project || exit 1; \
	done

venv: $(VENV)/.lint

bench: $(VENV)/.test
	$(VENV)/bin/python benchmarks/validate.py
	$(VENV)/bin/python benchmarks/apply.py
	$(VENV)/bin/python benchmarks/fleet.py
	$(VENV)/bin/python benchmarks/demo.py
	$(VENV)/bin/python benchmarks/predict.py
	$(VENV)/bin/python benchmarks/capture.py
	$(VENV)/bin/python benchmarks/pipeline.py
	$(VENV)/bin/python benchmarks/start.py
	$(VENV)/bin/python benchmarks/frame_age.py
	$(VENV)/bin/python benchmarks/reconnect.py
	$(VENV)/bin/python benchmarks/decode_cpu.py
	$(VENV)/bin/python benchmarks/memory.py

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.build: $(VENV)/bin/python
	$(PIP) install --quiet build 'hatchling>=1.27'
	@touch $@

$(VENV)/.local: $(VENV)/bin/python $(METADATA)
	$(PIP) install --quiet --editable $(DEVICE) --editable . --editable $(EMULATOR)
	@touch $@

$(VENV)/.test: $(VENV)/bin/python $(METADATA)
	$(PIP) install --quiet --editable $(DEVICE) --editable '.[test]' --editable $(EMULATOR)
	@touch $@ $(VENV)/.local $(VENV)/.build

$(VENV)/.lint: $(VENV)/bin/python $(METADATA)
	$(PIP) install --quiet --editable $(DEVICE) --editable '.[test,lint]' --editable $(EMULATOR)
	@touch $@ $(VENV)/.local $(VENV)/.test $(VENV)/.build

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
