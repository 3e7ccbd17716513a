"""One thread for each of several processes that work side by side.

Libraries read these variables when they are loaded. Left alone, each process would start as many threads as
there are cores. OpenMP places a process's first thread on the first core if the user's environment asks for
binding, as many clusters' does; all processes would share that core.
"""

import contextlib
import os
from collections.abc import Iterator

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
    "OMP_PROC_BIND": "false",
}


def wanted() -> int:
    """How many threads a library should use that does not ask for itself.

    Returns
    -------
    int
        As OMP_NUM_THREADS says; by default one for each core that this process may use.
    """
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if first.isdecimal() and int(first) > 0:
        return int(first)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def one_thread_each() -> Iterator[None]:
    """Let processes that are started within the block compute in one thread each.

    Yields
    ------
    None
    """
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(ONE_THREAD)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
