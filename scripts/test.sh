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
if [ $# -gt 0 ]; then
  step "pytest" "$bin/python" -m pytest -q "$@"
else
  step "pytest" "$bin/python" -m pytest -q --cov --cov-report=term --durations=15
fi
