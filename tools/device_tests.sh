#!/usr/bin/env bash
# Run the tests that need only what a board has, on a wanted version of Python, in an environment that has only that.
#
# usage: tools/device_tests.sh 3.9 [pytest's arguments]
#
# tests/without_host.py leaves out what needs the host side.
set -euo pipefail
cd "$(dirname "$0")/.."
version=$1
shift
scratch=$(mktemp -d "${TMPDIR:-/tmp}/device-tests-XXXXXX")
trap 'rm -rf "$scratch"' EXIT
tools/python_venv.sh "$version" "$scratch/venv"
python=$scratch/venv/bin/python
"$python" -m pip install --quiet './edge_component[edge,agent,onnx,signing,test]'
"$python" -c 'import sys; print("Python", sys.version)'
PYTHONPATH=tests PYTHONDONTWRITEBYTECODE=1 "$python" -m pytest -p without_host -p no:cacheprovider -n auto \
    -m "not e2e and not peer" tests/agent tests/edge tests/proto tests/runtime tests/schema "$@"
