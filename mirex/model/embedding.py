"""Embedding: CQT columns to one unit vector per recording.

A recording without its silence is seen in one or two views (`mirex.features.views`), each played once or
twice (`mirex.features.playing`), and cut into overlapping windows, or left whole if it is not longer than
one. The network's vector of each window is normalised to unit length, whitened (`mirex.model.whitening`)
and normalised again. In the CQT view a second-order vector of the network's stem
(`mirex.model.second_order`), treated in the same way, may be joined to it with a weight: it knows local
patterns of notes only, but does so in its own way, and both together tell versions from look-alikes better
than either (on joining layers, Hariharan et al., "Hypercolumns", CVPR 2015). The vector of a playing is the
mean over its windows, that of a view the mean over its playings, and the embedding is the weighted sum over
the views; each is normalised to unit length. Embeddings are compared by cosine similarity.

A network's step is the mean of two columns, so that it matters where the first one starts. The second moments
may be averaged over both phases, since they cost little; then a recording that is cut by part of a step moves
half as far.

On a CPU the network runs on one recording at a time, in blocks of windows. So an embedding's bytes depend on
the recording alone, not on what else is in the list. A GPU needs more work at a time than one recording
gives. There the windows of several recordings share blocks, padded to a common length
(`mirex.model.padded`). The shape of a window's block depends on its own length only, so that the result does
not depend on the others.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mirex._typing import Array
from mirex.errors import AudioError
from mirex.features.playing import playings
from mirex.features.views import BINS, at_least, chroma_view, cqt_view, profile_view, windows, without_silence
from mirex.model import second_order
from mirex.model.weights import Sealed
from mirex.model.whitening import Whitening, unit
from mirex.settings import NetworkSettings

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from mirex.model.network import ResNet50IBN

BLOCK = 512  # steps at a time, or one longer window: bounds memory, whatever the length of the recording
SHARED_BLOCK = 6144  # steps of several recordings at a time, with padding


class _Part(NamedTuple):
    """One playing of one of a recording's views, as windows, float32 [windows, bins, steps].

    phases: those that the network embeds, and the same from later columns on, as far as the second moments
    are averaged over them.
    """

    folded: bool
    phases: tuple[Array, ...]

    @property
    def windows(self) -> Array:
        return self.phases[0]


def embed(columns: Sequence[Array], *, sealed: Sealed) -> Array:
    """Embed recordings.

    Parameters
    ----------
    columns : sequence of float32 [84, columns]
        As `mirex.features.cqt.columns` gives them, 0.464 s per column.
    sealed : Sealed
        Weights, as `mirex.model.weights.load` gives them.

    Returns
    -------
    float32 [recordings, 2048]
        Rows of unit length.

    Raises
    ------
    AudioError
        For columns of another shape, or with values that are not finite.
    """
    result = np.zeros((len(columns), sealed.settings.embedding_size), np.float32)
    for index, each in enumerate(columns):
        result[index] = _embed_one(each, sealed)
    return result


def embed_together(columns: Sequence[Array], *, sealed: Sealed) -> Array:
    """Embed recordings whose windows share the network's blocks, as a GPU needs it.

    Parameters
    ----------
    columns, sealed
        As for `embed`.

    Returns
    -------
    float32 [recordings, 2048]
        Rows of unit length, those of `embed` within 1e-5 for each value.

    Raises
    ------
    AudioError
        As for `embed`; nothing is embedded then.
    """
    settings = sealed.settings
    played = [_played(_checked(each, settings), settings) for each in columns]
    vectors = iter(_vectors_together([part for parts in played for part in parts], sealed))
    joined = [_joined(parts, [next(vectors) for _ in parts], settings) for parts in played]
    return np.array(joined, np.float32).reshape(len(columns), settings.embedding_size)


def embed_windows(columns: Array, *, sealed: Sealed, folded: bool = False) -> Array:
    """Embed each window of one of a recording's views.

    Parameters
    ----------
    columns : float32 [84, columns]
        As in `embed`.
    sealed : Sealed
        As in `embed`.
    folded : bool
        The chroma view instead of the CQT view.

    Returns
    -------
    float32 [windows, 2048]
        Rows of unit length, of the first playing, one window every `window_hop` (`chroma_window_hop`) steps.
        Silence is removed and counts no steps.

    Raises
    ------
    AudioError
        As in `embed`.
    """
    return _vectors(_first_playing(columns, sealed.settings, folded=folded), sealed)


def network_vectors(columns: Array, *, sealed: Sealed, folded: bool = False) -> tuple[Array, Array | None]:
    """Compute the network's own vectors of each window of one of a recording's views, before any whitening.

    Parameters
    ----------
    columns, sealed, folded
        As for `embed_windows`.

    Returns
    -------
    last : float32 [windows, 2048]
        Rows of unit length.
    second_order : float32 [windows, 2080] or None
        Rows of unit length, of the stem (`mirex.model.second_order`). None if the view has none, or if they
        have no weight in the embedding.

    Raises
    ------
    AudioError
        As in `embed`.
    """
    return _unit_vectors(*_outputs(_first_playing(columns, sealed.settings, folded=folded), sealed))


def windows_of(columns: Array, *, settings: NetworkSettings, folded: bool = False) -> Array:
    """Cut one of a recording's views into the network's input.

    Parameters
    ----------
    columns : float32 [84, columns]
        As in `embed`.
    settings : NetworkSettings
        Of the network.
    folded : bool
        The chroma view instead of the CQT view.

    Returns
    -------
    float32 [windows, bins, steps]
        Of the first playing, without silence.

    Raises
    ------
    AudioError
        As in `embed`.
    """
    view = (chroma_view if folded else cqt_view)(_checked(columns, settings), settings=settings)
    return _windows(view, folded=folded, settings=settings)


def embed_profile(profile: Array, *, sealed: Sealed) -> Array:
    """Embed a recording of which only the pitch classes are known, by the folded view.

    Parameters
    ----------
    profile : float32 [12, steps]
        As `mirex.features.views.profile_view` takes it.
    sealed : Sealed
        As in `embed`.

    Returns
    -------
    float32 [2048]
        Of unit length. Comparable only with other embeddings of profiles.
    """
    settings = sealed.settings
    view = profile_view(profile, settings=settings)
    played = [
        _Part(True, (_windows(each, folded=True, settings=settings),))
        for each in playings(view, folded=True, settings=settings)
    ]
    return _mean_of_playings([_vectors(part, sealed) for part in played])


def _embed_one(columns: Array, sealed: Sealed) -> Array:
    parts = _played(_checked(columns, sealed.settings), sealed.settings)
    vectors = [_vectors(part, sealed) for part in parts]
    return _joined(parts, vectors, sealed.settings)


def _checked(columns: Array, settings: NetworkSettings) -> Array:
    """The columns without their silence."""
    if columns.ndim != 2 or columns.shape[0] != BINS or columns.shape[1] == 0:
        raise AudioError(f"columns have shape {columns.shape}; give [84, at least 1]")
    if not np.isfinite(columns).all():
        raise AudioError("columns have values that are not finite; extract them again")
    return without_silence(columns, settings=settings)


def _first_playing(columns: Array, settings: NetworkSettings, *, folded: bool) -> _Part:
    return _part(_phases(_checked(columns, settings), settings, folded=folded), settings, folded=folded)


def _played(kept: Array, settings: NetworkSettings) -> list[_Part]:
    """Each playing of each view that the embedding consists of."""
    parts = _parts(kept, settings, folded=False)
    if settings.chroma_weight > 0:
        parts += _parts(kept, settings, folded=True)
    return parts


def _parts(kept: Array, settings: NetworkSettings, *, folded: bool) -> list[_Part]:
    """Each playing of a view."""
    phases = _phases(kept, settings, folded=folded)
    played = zip(*(playings(view, folded=folded, settings=settings) for view in phases), strict=True)
    return [_part(each, settings, folded=folded) for each in played]


def _part(phases: Sequence[Array], settings: NetworkSettings, *, folded: bool) -> _Part:
    return _Part(folded, tuple(_windows(view, folded=folded, settings=settings) for view in phases))


def _phases(kept: Array, settings: NetworkSettings, *, folded: bool) -> list[Array]:
    """A view, and the same of the columns from later ones on, as far as their second moments count."""
    view = chroma_view if folded else cqt_view
    count = settings.second_order_phases if _has_second_order(settings, folded=folded) else 1
    return [view(_later(kept, phase), settings=settings) for phase in range(count)]


def _has_second_order(settings: NetworkSettings, *, folded: bool) -> bool:
    return not folded and settings.second_order_weight > 0


def _later(columns: Array, phase: int) -> Array:
    """The columns from another one on. The last one is repeated, so that there are as many steps."""
    count = columns.shape[1]
    return columns[:, np.minimum(np.arange(count) + phase, count - 1)]


def _joined(parts: Sequence[_Part], vectors: Sequence[Array], settings: NetworkSettings) -> Array:
    """The embedding from the vectors of each playing's windows."""
    views = [
        _mean_of_playings([each for part, each in zip(parts, vectors, strict=True) if part.folded == wanted])
        for wanted in ((False, True) if settings.chroma_weight > 0 else (False,))
    ]
    return views[0] if len(views) == 1 else unit(views[0] + settings.chroma_weight * views[1])


def _mean_of_playings(vectors: Sequence[Array]) -> Array:
    """A view's vector from those of its playings' windows."""
    return unit(np.mean([unit(each.mean(axis=0)) for each in vectors], axis=0))


def _windows(view: Array, *, folded: bool, settings: NetworkSettings) -> Array:
    """Windows of a view, which is repeated if it is short."""
    long = at_least(view, steps=settings.min_steps)
    if folded:
        return windows(long, steps=settings.chroma_window_steps, hop=settings.chroma_window_hop)
    return windows(long, steps=settings.window_steps, hop=settings.window_hop)


def _vectors(part: _Part, sealed: Sealed) -> Array:
    """Whitened vectors of unit length of the windows."""
    return _whitened(*_outputs(part, sealed), sealed, folded=part.folded)


def _outputs(part: _Part, sealed: Sealed) -> tuple[Array, Array | None]:
    """The network's outputs for windows, and second moments if they are wanted."""
    network = _network(sealed, folded=part.folded)
    last = _by_blocks(network.infer, part.windows)
    if not _has_second_order(sealed.settings, folded=part.folded):
        return last, None
    infer_moments = partial(network.infer_moments, tilt=sealed.settings.second_order_tilt)
    return last, _mean([_by_blocks(infer_moments, each) for each in part.phases])


def _by_blocks(infer: Callable[[Array], Array], found: Array) -> Array:
    rows = _rows(found.shape[2], block=BLOCK)
    return np.concatenate([infer(found[start : start + rows]) for start in range(0, len(found), rows)])


def _mean(phases: Sequence[Array]) -> Array:
    """The mean of the phases' second moments."""
    return np.mean(phases, axis=0, dtype=np.float64)


def _vectors_together(parts: Sequence[_Part], sealed: Sealed) -> list[Array]:
    """The same for parts of several recordings, in blocks of windows of similar length."""
    from mirex.model import padded

    kinds = [(part.folded, padded.padded_length(part.windows.shape[2])) for part in parts]
    vectors = [np.empty(0, np.float32)] * len(parts)
    for kind in dict.fromkeys(kinds):
        folded, steps = kind
        places = [place for place, other in enumerate(kinds) if other == kind]
        outputs = _padded_outputs([parts[place] for place in places], sealed, folded=folded, steps=steps)
        for place, own in zip(places, outputs, strict=True):
            vectors[place] = _whitened(*own, sealed, folded=folded)
    return vectors


def _padded_outputs(
    parts: Sequence[_Part], sealed: Sealed, *, folded: bool, steps: int
) -> list[tuple[Array, Array | None]]:
    """The network's outputs for several recordings' parts of one view, padded to some steps."""
    from mirex.model import padded

    network = _network(sealed, folded=folded)
    by_blocks = partial(_by_padded_blocks, steps=steps, device=network.device)
    last = by_blocks([part.windows for part in parts], partial(padded.embedding, network))
    if not _has_second_order(sealed.settings, folded=folded):
        return [(own, None) for own in last]
    moments = partial(padded.moments, network, tilt=sealed.settings.second_order_tilt)
    phases = [by_blocks(each, moments) for each in zip(*(part.phases for part in parts), strict=True)]
    return [(own, _mean(each)) for own, each in zip(last, zip(*phases, strict=True), strict=True)]


def _by_padded_blocks(
    parts: Sequence[Array], infer: Callable[..., "Tensor"], *, steps: int, device: "torch.device"
) -> list[Array]:
    """What is computed of each recording's windows, in blocks that they share."""
    import torch

    from mirex.model import padded
    from mirex.model.network import full_precision

    windows, outputs = [window for part in parts for window in part], []
    for x, lengths in padded.blocks(windows, rows=_rows(steps, block=SHARED_BLOCK), steps=steps):
        with torch.inference_mode(), full_precision():
            outputs.append(infer(x.to(device), lengths=lengths.to(device)).cpu().numpy())
    ends = np.cumsum([len(part) for part in parts])
    return np.split(np.concatenate(outputs)[: ends[-1]], ends[:-1])


def _network(sealed: Sealed, *, folded: bool) -> "ResNet50IBN":
    return sealed.network.chroma if folded else sealed.network.cqt


def _rows(steps: int, *, block: int) -> int:
    """How many windows of this length a block has."""
    return max(block // steps, 1)


def _whitened(last: Array, moments: Array | None, sealed: Sealed, *, folded: bool) -> Array:
    """The vectors of windows: the network's own, and the second-order ones beside them."""
    own, second_order_vectors = _unit_vectors(last, moments)
    vectors = _applied(sealed.chroma_whitening if folded else sealed.whitening, own)
    if second_order_vectors is None:
        return vectors
    beside = _applied(sealed.second_order_whitening, second_order_vectors)
    return unit(np.concatenate([vectors, sealed.settings.second_order_weight * beside], axis=1))


def _unit_vectors(last: Array, moments: Array | None) -> tuple[Array, Array | None]:
    return unit(last), None if moments is None else unit(second_order.vectors(moments))


def _applied(whitening: Whitening | None, vectors: Array) -> Array:
    return vectors if whitening is None else whitening.apply(vectors)
