#!/usr/bin/env bash
# The tests with the lowest versions that setup.cfg allows, in a fresh virtual environment:
#   bash scripts/lowest_versions.sh [ARGUMENTS OF PYTEST]      without arguments: all tests
# PYTHON names the interpreter (python3 by default). Use the oldest Python that setup.cfg allows, too.
# Only what setup.cfg names is as old as it may be. What that needs in turn is as new as it may be.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
. "$work/venv/bin/activate"
python -m pip install --quiet --disable-pip-version-check uv
uv pip install --resolution lowest-direct -e '.[test]'
python -m pytest "$@"
