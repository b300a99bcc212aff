#!/usr/bin/env bash
# Make the virtual environment $VENV (.venv unless set) and install voxsam from this folder, with tested versions.
# Usage: setup.sh [EXTRAS]   e.g. setup.sh test,lint      Python: $PYTHON, python3 unless set.
# It does nothing where the same was installed before.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
extras=${1:-}
venv=${VENV:-.venv}
python=${PYTHON:-python3}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
  { echo "voxsam needs Python 3.10 or newer; set PYTHON to one (found: $("$python" --version 2>&1))" >&2; exit 1; }
if [ ! -x "$venv/bin/python" ]; then
  echo "making the environment $venv"
  "$python" -m venv "$venv" ||
    { rm -rf "$venv"; echo "could not make it; on Debian: apt-get install python3-venv" >&2; exit 1; }
fi
wanted="$(cat pyproject.toml constraints.txt | cksum) $PWD"
for stamp in "$venv/.installed-$extras" "$venv/.installed-test,lint"; do
  [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && exit 0
done
echo "installing voxsam and what it needs (a few minutes the first time)"
"$venv/bin/python" -m pip install -qq --disable-pip-version-check -c constraints.txt -e ".${extras:+[$extras]}"
echo "$wanted" >"$venv/.installed-$extras"
