#!/bin/sh
# Set everything up and run the checks: lint, types, tests. Arguments go to pytest, from any directory:
#   tests/run.sh -k matrix
set -eu

here=$(CDPATH='' cd -P -- "$(dirname -- "$0")/.." && pwd)
. "$here/mirex/bootstrap/environment.sh"
choose_python "$here/tests"

# One thread a process, as the workers have it: tests start many processes, and compare their bytes.
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1

cd "$here"
status=0
"$python" -m ruff check . || status=1
"$python" -m mypy || status=1
"$python" -m pytest -q "$@" </dev/null || status=1
exit $status
