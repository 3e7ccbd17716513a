"""Files that appear whole or not at all.

The content goes to a temporary file in the same folder, which is renamed into place when it is complete. So
the name never refers to half a file, whatever ends the process (POSIX: rename is atomic). A link stays a
link: its target is replaced.
"""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

TEMPORARY_SUFFIX = ".part"


@contextlib.contextmanager
def appearing_whole(path: str | os.PathLike[str], *, sync: bool = False) -> Iterator[Path]:
    """Give a temporary path to write to; it replaces `path` when the block ends without an error.

    Parameters
    ----------
    path : path-like
        The file to write. Its folder must exist.
    sync : bool
        Also wait until the bytes are on the disk, so that the file survives a power cut.

    Yields
    ------
    Path
        A path in the same folder that does not exist yet.

    Raises
    ------
    OSError
        As the file system raises it. On this and any other error the temporary file is removed.
    """
    target = Path(os.path.realpath(path))
    name = f".{target.name[:16]}-{os.getpid()}-{secrets.token_hex(4)}{TEMPORARY_SUFFIX}"
    temporary = target.with_name(name)
    try:
        yield temporary
        if sync:
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
        os.replace(temporary, target)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_whole(path: str | os.PathLike[str], data: bytes | str, *, sync: bool = False) -> None:
    """Write a file that appears whole.

    Parameters
    ----------
    path : path-like
        The file to write. Its folder must exist.
    data : bytes or str
        The whole content; text is written as UTF-8.
    sync : bool
        As in `appearing_whole`.

    Raises
    ------
    OSError
        As the file system raises it.
    """
    with appearing_whole(path, sync=sync) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)
