"""A worker process that loads nothing and analyses nothing; the pool's tests start it for the real one.

Its answer for a recording is an embedding made from the file's bytes. But by the recording's name: "killer"
ends the process each time, "once" the first time (it leaves a file beside the recording to remember, with
its parent's number), "assassin" ends its parent, "endless" takes for ever, "slow" the first time, "tired"
takes two seconds after it has said that the recording is an hour long. A file that the program's argument
names makes it die while it starts, and is removed.
"""

import hashlib
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from mirex.extraction import worker


def analyse(path, report):
    name = Path(path).stem
    if "killer" in name:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "assassin" in name:
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(1000)
    if ("once" in name or "slow" in name) and not Path(path + ".seen").exists():
        Path(path + ".seen").write_text(str(os.getppid()))
        os.kill(os.getpid(), signal.SIGKILL) if "once" in name else time.sleep(1000)
    if "endless" in name:
        time.sleep(1000)
    if "tired" in name:
        report(3600.0)
        time.sleep(2)
    digest = hashlib.sha256(Path(path).read_bytes()).digest()
    vector = np.resize(np.frombuffer(digest, np.uint8), 2048).astype(np.float32)
    return {"embedding": vector / np.linalg.norm(vector)}


if __name__ == "__main__":
    if len(sys.argv) > 1 and Path(sys.argv[1]).exists():
        Path(sys.argv[1]).unlink()
        sys.exit(3)
    setattr(worker, "_prepare", lambda setup: analyse)  # noqa: B010 - not its type, on purpose
    worker.main()
