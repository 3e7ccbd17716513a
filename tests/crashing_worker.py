"""A worker process to which a recording can be fatal; `test_extraction` starts it in place of the real one.

By the recording's name: "memory" raises what an allocation too large raises, "broken" what a bad disk does,
"defect" another exception.
"""

from pathlib import Path

from mirex.extraction import worker
from mirex.features import streaming

decode = streaming.decode_long


def fragile_decode(path: str, **options):
    name = Path(path).stem
    if "memory" in name:
        raise MemoryError
    if "broken" in name:
        raise OSError(5, "Input/output error")
    if "defect" in name:
        raise ZeroDivisionError("a defect")
    return decode(path, **options)


if __name__ == "__main__":
    setattr(streaming, "decode_long", fragile_decode)  # noqa: B010 - the types differ, on purpose
    worker.main()
