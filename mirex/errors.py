"""Exceptions: one small tree; every message says what is wrong, the value, and what to do.

The command line maps ``exit_code`` to the process's exit status: 1 failed, 2 usage error.
"""


class MirexError(Exception):
    """Base of every error that this package raises on purpose."""

    exit_code = 1


class UsageError(MirexError):
    """The call itself is wrong: an invalid option or argument."""

    exit_code = 2


class ListFileError(MirexError):
    """A list file is missing, unreadable or not text."""


class AudioError(MirexError):
    """A recording cannot be decoded, or has nothing that can be analysed."""


class WeightsError(MirexError):
    """A weights file is damaged, unsealed, or not of a form this version reads."""


class SettingsMismatch(MirexError):
    """Weights, embeddings or columns with different settings cannot be used together."""


class StoreError(MirexError):
    """The scratch folder cannot be used."""


class IndexFileError(MirexError):
    """The file of an index is missing, damaged, or not an index."""


class MatrixFormatError(MirexError):
    """A distance matrix file violates the MIREX format."""


class EvaluationError(MirexError):
    """A matrix and cliques cannot be evaluated together."""


class TrainingError(MirexError):
    """The training data or a checkpoint cannot be used."""
