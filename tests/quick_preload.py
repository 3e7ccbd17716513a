"""What Dask's workers load in the tests: their worker processes analyse nothing (`quick_worker`)."""

import sys

import quick_worker
from mirex.extraction import pool

pool.COMMAND[:] = [sys.executable, quick_worker.__file__]
