#!/usr/bin/env bash
# Set up and run every check and every test; what continuous integration runs.
# Arguments go to pytest, e.g.  scripts/test.sh -k cli  (then coverage is not required).
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh test,lint
bin=$(cd "${VENV:-.venv}/bin" && pwd)
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} PYTHONDONTWRITEBYTECODE=1 COVERAGE_FILE="${COVERAGE_FILE:-$PWD/.coverage}"

step() { echo "── $1"; shift; "$@"; }
step "ruff" "$bin/ruff" check --quiet .
step "ruff format" "$bin/ruff" format --check --quiet .
step "mypy" "$bin/mypy" --no-error-summary
step "import-linter" "$bin/lint-imports" --no-cache --no-logo

# The napari plugin's tests click in real windows: on the display there is, or on a virtual one.
pytest=("$bin/python" -m pytest -q)
if command -v xvfb-run >/dev/null; then
  pytest=(xvfb-run -a -s "-screen 0 1400x1000x24" "${pytest[@]}")
elif [ -z "${DISPLAY:-}" ] && [ "$(uname)" = Linux ]; then
  echo "no display: tests/napari is left out; CONTRIBUTING.md says how to get a virtual one"
  pytest+=(-p no:pytest-qt --ignore=tests/napari --ignore=napari_plugin)
fi
if [ $# -gt 0 ]; then
  step "pytest" "${pytest[@]}" "$@"
else
  step "pytest" "${pytest[@]}" --cov --cov-report=term --durations=15
fi
