"""A worker process: reads jobs from stdin, answers on stdout; `mirex.extraction.pool` is the other end.

A damaged recording can crash a decoder, so decoding happens here, where a crash costs one file.
All CPU work on a recording is done here on one thread, one recording at a time, so that the bytes of a
result cannot depend on the number of workers.

Each message is one line of JSON. In: first the setup, then one job, {"path"}, per line. Out:
{"error", "message"} if the setup fails, otherwise {"ready"}; then for each job {"decoded"}, the recording's
length in seconds, as soon as it is known, and {"arrays", "warnings"}, followed by the arrays' float32 bytes;
or {"failure", "unexpected"}, which may come before or after the length.

Where a GPU transforms the samples, they are sent to the other end instead, but for recordings that are too
long to be held in memory.
"""

import contextlib
import ctypes
import gc
import json
import os
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from mirex.errors import AudioError, MirexError, SettingsMismatch
from mirex.features.audio import AudioWarning
from mirex.settings import FrontEndSettings

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
if TYPE_CHECKING:
    from mirex.model.weights import Sealed

Arrays = dict[str, np.ndarray]
Analyse = Callable[[str, Callable[[float], None]], Arrays]


def main() -> None:
    """Serve until stdin ends or the parent dies."""
    _die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    answers = _private_stdout()
    gc.disable()  # loaded objects stay; scanning them again and again takes a tenth of the time
    try:
        analyse = _prepare(json.loads(sys.stdin.readline()))
    except MirexError as error:
        _send(answers, {"error": type(error).__name__, "message": str(error)})
        return
    gc.enable()
    _send(answers, {"ready": True})
    for line in sys.stdin:
        _answer(answers, analyse, json.loads(line)["path"])


def _die_with_parent() -> None:
    """Have the system kill this process with its parent.

    Otherwise a decoder that never ends would outlive a killed parent, with nobody to stop it. Linux sends the
    signal when the thread ends that started this process, and that thread ends after its jobs.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _private_stdout() -> BinaryIO:
    """Keep stdout for answers alone: what libraries print goes to stderr."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return answers


def _send(answers: BinaryIO, header: dict[str, Any], arrays: tuple[np.ndarray, ...] = ()) -> None:
    answers.write(json.dumps(header).encode() + b"\n")
    for array in arrays:
        answers.write(np.ascontiguousarray(array).reshape(-1).data)
    answers.flush()


def _prepare(setup: dict[str, Any]) -> Analyse:
    """The function from a path to its arrays, with everything it needs loaded; it reports the length.

    setup: front_end (JSON), cqt, weights (path; None: no embedding), weights_fingerprint, backend of the
    network, columns (whether they are wanted besides the embedding), samples (whether they are wanted instead
    of the columns), scratch (folder for temporary files).
    """
    from mirex.features import cqt
    from mirex.features.streaming import columns_of_file, columns_of_signal, decode_long, is_long
    from mirex.features.trimming import trimmed
    from mirex.model.weights import load

    if setup["weights"] and setup["backend"] == "torch":
        import torch

        torch.set_num_threads(1)
    if setup["backend"] == "openvino":
        _give_memory_back()
    front_end = FrontEndSettings.from_json(setup["front_end"])
    sealed = load(Path(setup["weights"]), backend=setup["backend"]) if setup["weights"] else None
    if sealed and sealed.fingerprint != setup["weights_fingerprint"]:
        raise SettingsMismatch(f"weights {setup['weights']}: changed during this run; run again")

    scratch, how = setup["scratch"], {"settings": front_end, "implementation": setup["cqt"]}

    def read(path: str, report: Callable[[float], None]) -> Arrays:
        """The samples, or the columns of a recording that is too long to be held in memory."""
        if is_long(path):
            return {"columns": columns_of_file(path, folder=scratch, decoded=report, **how).columns}
        samples = decode_long(path, settings=front_end, folder=scratch)
        if not samples.is_in_memory:  # longer than its header says, or only FFmpeg reads it
            return {"columns": columns_of_signal(samples.blocks, decoded=report, **how).columns}
        report(len(samples) / front_end.sample_rate)
        return {"samples": trimmed(samples.array(), settings=front_end)}

    def analyse(path: str, report: Callable[[float], None]) -> Arrays:
        arrays = read(path, report)
        if "samples" in arrays and not setup["samples"]:
            arrays = {"columns": cqt.columns(arrays["samples"], **how)}
        if sealed is None:
            return arrays
        return embedded(arrays["columns"], sealed) | (arrays if setup["columns"] else {})

    return analyse


def _give_memory_back() -> None:
    """Have glibc return a recording's samples at once: OpenVINO's buffers would fragment what they leave."""
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 4 << 20)
        libc.mallopt(_M_TRIM_THRESHOLD, 32 << 20)


def embedded(columns: np.ndarray, sealed: "Sealed") -> Arrays:
    """Compute what is kept of a recording.

    Parameters
    ----------
    columns : float32 [84, columns]
        From `mirex.features.cqt`.
    sealed : Sealed
        The weights.

    Returns
    -------
    dict
        "embedding": float32 [2048]; "seconds": its seconds of sound, float64 [].

    Raises
    ------
    AudioError
        As `mirex.model.embedding.embed`.
    """
    from mirex.model.embedding import embed

    return kept(columns, embed([columns], sealed=sealed)[0], sealed)


def kept(columns: np.ndarray, embedding: np.ndarray, sealed: "Sealed") -> Arrays:
    """Put together what is kept of a recording whose embedding is known.

    Parameters
    ----------
    columns : float32 [84, columns]
        From `mirex.features.cqt`.
    embedding : float32 [2048]
        Of these columns.
    sealed : Sealed
        The weights.

    Returns
    -------
    dict
        As `embedded` returns it.
    """
    from mirex.features.short import seconds_of_sound

    seconds = seconds_of_sound(columns, front_end=sealed.front_end, settings=sealed.settings)
    return {"embedding": embedding, "seconds": np.array(seconds)}


def _answer(answers: BinaryIO, analyse: Analyse, path: str) -> None:
    def report(seconds: float) -> None:
        _send(answers, {"decoded": seconds})

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            arrays = {name: array.astype("<f4", copy=False) for name, array in analyse(path, report).items()}
        except AudioError as error:
            return _send(answers, {"failure": str(error), "unexpected": False})
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            return _send(answers, {"failure": f"cannot be read: {reason}", "unexpected": False})
        except Exception as error:
            if _lacks_memory(error):
                # As if killed by the system's out-of-memory killer: it gets one more try, alone.
                os.kill(os.getpid(), signal.SIGKILL)
            return _send(answers, {"failure": f"{type(error).__name__}: {error}", "unexpected": True})
    notes = [str(warning.message) for warning in caught if issubclass(warning.category, AudioWarning)]
    shapes = {name: array.shape for name, array in arrays.items()}
    return _send(answers, {"arrays": shapes, "warnings": notes}, tuple(arrays.values()))


def _lacks_memory(error: Exception) -> bool:
    """Whether memory ran out: Python and NumPy have a class for that error, PyTorch only a text."""
    return isinstance(error, MemoryError) or "can't allocate memory" in str(error)


if __name__ == "__main__":
    main()
