"""A worker process to which a recording can be fatal; `test_extraction` starts it in place of the real one.

By the recording's name: "killer" ends the process each time, "once" the first time (it leaves a file
beside the recording to remember), "memory" raises what an allocation too large raises.
"""

import os
import signal
from pathlib import Path

from mirex.extraction import worker

decode = worker.decode


def fragile_decode(path: str, **options):
    name = Path(path).stem
    if "killer" in name:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "once" in name and not Path(path + ".seen").exists():
        Path(path + ".seen").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if "memory" in name:
        raise MemoryError
    if "defect" in name:
        raise ZeroDivisionError("a defect")
    return decode(path, **options)


if __name__ == "__main__":
    setattr(worker, "decode", fragile_decode)  # noqa: B010 - the types differ, on purpose
    worker.main()
