"""Exceptions: one small tree; every message says what is wrong, the value, and what to do.

The command line maps ``exit_code`` to the process's exit status: 1 failed, 2 wrong usage.
"""


class MirexError(Exception):
    """Base of every error that this package raises on purpose."""

    exit_code = 1


class UsageError(MirexError):
    """The call itself is wrong: an option or an argument that cannot be."""

    exit_code = 2


class ListFileError(MirexError):
    """A list file is missing, unreadable or not text."""


class AudioError(MirexError):
    """A recording cannot be decoded, or holds nothing that can be analysed."""


class WeightsError(MirexError):
    """A weights file is damaged, unsealed, or not of a form this version reads."""


class SettingsMismatch(MirexError):
    """Two things that must share their settings do not: weights, embeddings, columns."""


class StoreError(MirexError):
    """The scratch folder cannot be used."""


class IndexFileError(MirexError):
    """The file of an index is missing, damaged, or no index."""


class MatrixFormatError(MirexError):
    """A distance matrix file breaks the MIREX format."""


class EvaluationError(MirexError):
    """The matrix and the cliques given cannot be evaluated together."""


class TrainingError(MirexError):
    """The training data or a checkpoint cannot be used."""
