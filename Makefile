# Everything runs from .venv, which each target sets up as far as it needs; the stamps make the second time quick.
PYTHON ?= python3
VENV ?= .venv
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check

.PHONY: help demo test e2e lint bench clean
.DELETE_ON_ERROR:

help:
	@echo "make demo   the whole workflow on this machine: camera, cloud, device, ten results"
	@echo "make test   the fast tests"
	@echo "make e2e    the tests that start the whole of it (peers need Mosquitto, GStreamer's RTSP server, Chromium)"
	@echo "make lint   format, lint, types, contracts between packages, Python 3.9 on the device side"
	@echo "make bench  the benchmarks of benchmarks/README.md"
	@echo "make clean  remove .venv and what was built"

demo: $(VENV)/.local
	$(VENV)/bin/emflow up workflows/demo.yaml --results 10

test: $(VENV)/.test
	$(VENV)/bin/python -m pytest -m "not e2e and not peer"

e2e: $(VENV)/.test
	$(VENV)/bin/python -m pytest -n0 -m "e2e or peer"

lint: $(VENV)/.lint
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/mypy --config-file tests/mypy.ini
	$(VENV)/bin/lint-imports
	$(VENV)/bin/vermin --quiet --no-tips --eval-annotations --violations -t=3.9- edge_component schema proto

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

$(VENV)/.local: $(VENV)/bin/python pyproject.toml
	$(PIP) install --quiet --editable '.[local]'
	@touch $@

$(VENV)/.test: $(VENV)/bin/python pyproject.toml
	$(PIP) install --quiet --editable '.[test]'
	@touch $@ $(VENV)/.local

$(VENV)/.lint: $(VENV)/bin/python pyproject.toml
	$(PIP) install --quiet --editable '.[test,lint]'
	@touch $@ $(VENV)/.local $(VENV)/.test

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
