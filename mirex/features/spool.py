"""Samples that come in blocks: in memory at first, in a temporary file once there are many.

A recording of hours can so be decoded without knowing its length before, and be read again, block by block.
The file has no name, so nothing is left of it when the process ends, however it ends. It is written and read
rather than mapped, so that its pages never count as memory of the process.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from mirex._typing import Samples

BLOCK = 1 << 20  # samples that are read at a time
RESERVED = 1 << 25  # samples for which there is room from the start: 25 minutes at 22,050 Hz
_ITEM = np.dtype(np.float32).itemsize  # bytes


class NoRoom(Exception):
    """The samples do not fit on the disk; the message says where, and what to do."""


class Spool:
    """Mono samples, appended block by block.

    Parameters
    ----------
    in_memory : int or None
        Samples that are kept in memory at most; None for all.
    folder : path-like, optional
        Of the temporary file. If it cannot be written, and by default, the system's folder for such files.

    Examples
    --------
    >>> spool = Spool(in_memory=4)
    >>> for block in (np.ones(3, np.float32), np.zeros(3, np.float32)):
    ...     spool.append(block)
    >>> len(spool), spool.is_in_memory
    (6, False)
    >>> [block.tolist() for block in spool.blocks()]
    [[1.0, 1.0, 1.0, 0.0, 0.0, 0.0]]
    """

    def __init__(self, *, in_memory: int | None = None, folder: str | os.PathLike[str] | None = None) -> None:
        self._in_memory, self._folder = in_memory, folder
        self._buffer, self._end = np.empty(0, np.float32), 0
        self._file: BinaryIO | None = None
        self._place = ""

    def __len__(self) -> int:
        return self._end

    @property
    def is_in_memory(self) -> bool:
        """Whether there is no file.

        Returns
        -------
        bool
        """
        return self._file is None

    def append(self, block: Samples) -> None:
        """Add samples at the end.

        Parameters
        ----------
        block : float32 [samples]
            They are copied.

        Raises
        ------
        NoRoom
            If the disk is full.
        """
        end = self._end + len(block)
        if self._file is None and self._in_memory is not None and end > self._in_memory:
            self._move()
        if self._file is not None:
            self._write(block)
        else:
            if end > len(self._buffer):
                self._make_room(end)
            self._buffer[self._end : end] = block
        self._end = end

    def array(self) -> Samples:
        """Give all samples as one array; nothing can be appended afterwards.

        Returns
        -------
        float32 [samples]
            Without a copy if they are in memory.
        """
        if self._file is not None:
            return self._read(0, self._end)
        self._buffer.resize(self._end, refcheck=False)
        return self._buffer

    def blocks(self) -> Iterator[Samples]:
        """Read from the start.

        Yields
        ------
        float32 [samples]
            `BLOCK` samples, the last one fewer.
        """
        for start in range(0, self._end, BLOCK):
            stop = min(start + BLOCK, self._end)
            yield self._buffer[start:stop] if self._file is None else self._read(start, stop)

    def _make_room(self, end: int) -> None:
        if not len(self._buffer):
            # What is not written yet takes no memory. Growing step by step writes zeros first, which took
            # a third of a WAV file's decoding time.
            wanted = RESERVED if self._in_memory is None else min(RESERVED, self._in_memory)
            self._buffer = np.empty(max(end, wanted), np.float32)
        else:  # grown in place: joining blocks would hold everything twice
            self._buffer.resize(max(end, len(self._buffer) * 5 // 4), refcheck=False)

    def _move(self) -> None:
        """From memory into a file."""
        self._file, self._place = _temporary_file(self._folder)
        self._write(self._buffer[: self._end])
        self._buffer = np.empty(0, np.float32)

    def _write(self, block: Samples) -> None:
        assert self._file is not None
        data = np.ascontiguousarray(block, np.float32).data.cast("B")
        try:
            while data:
                data = data[self._file.write(data) :]
        except OSError as error:
            raise NoRoom(
                f"is so long that its samples are kept in {self._place}, where they do not fit: "
                f"{(error.strerror or str(error)).lower()}; free some space (320 MB per hour) and run again"
            ) from error

    def _read(self, start: int, stop: int) -> Samples:
        assert self._file is not None
        result = np.empty(stop - start, np.float32)
        self._file.seek(start * _ITEM)
        view = result.data.cast("B")
        while view:
            count = self._file.readinto(view)  # type: ignore[attr-defined]
            if not count:
                raise OSError(f"the temporary file in {self._place} has lost its end")
            view = view[count:]
        return result


def _temporary_file(folder: str | os.PathLike[str] | None) -> tuple[BinaryIO, str]:
    """A file without a name, and the folder that it is in."""
    if folder is not None:
        with contextlib.suppress(OSError):  # on another machine, or write-protected
            return tempfile.TemporaryFile(buffering=0, dir=folder), str(Path(folder))
    try:
        return tempfile.TemporaryFile(buffering=0), tempfile.gettempdir()
    except OSError as error:
        raise NoRoom(
            "is so long that its samples are kept in a temporary file, which cannot be made: "
            f"{(error.strerror or str(error)).lower()}; set TMPDIR to a folder with free space"
        ) from error
