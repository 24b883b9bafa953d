#!/usr/bin/env bash
# Make the virtual environment with modeldist (editable) and its development tools in it.
set -euo pipefail
: "${PYTHON:=python3}" "${VENV:=.venv}"

"$PYTHON" - <<'PY' || { echo "modeldist: Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11." >&2; exit 1; }
import sys
sys.exit(sys.version_info < (3, 11))
PY

[ -x "$VENV/bin/python" ] || "$PYTHON" -m venv "$VENV" || {
  echo "modeldist: python3 -m venv failed; on Debian install python3-venv." >&2
  exit 1
}
echo "modeldist: installing Python packages into $VENV" >&2
"$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
