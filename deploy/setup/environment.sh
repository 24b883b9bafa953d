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
install() { "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --editable "$1"; }
# pyfuse3 is built here, against libfuse3: without it, or a compiler, the rest is there all the same.
if pkg-config --exists fuse3 2>/dev/null && install '.[dev,mount]'; then
  exit 0
fi
echo "modeldist: left out (no libfuse3-dev, pkg-config or compiler): pyfuse3. What needs it is skipped and says so." >&2
install '.[dev]'
