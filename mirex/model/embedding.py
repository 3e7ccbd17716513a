"""Embedding: CQT columns to one unit vector a recording.

A recording is normalised in one or two views (`mirex.features.views`), each played once or twice
(`mirex.features.playing`); a long one is cut into equal parts. A playing's vector is the mean over the
parts of the network's unit-length output, made unit length; a view's is the mean of its playings',
likewise; the embedding is the views' weighted sum, likewise. Cosine similarity compares embeddings.

The network runs on one recording at a time, the parts of a view as one batch: so an embedding's bytes
depend on the recording alone, not on what else is in the list.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager

import numpy as np
import torch
from numpy.typing import NDArray

from mirex._typing import Array
from mirex.errors import AudioError
from mirex.features.playing import playings
from mirex.features.views import BINS, chroma_view, cqt_view, profile_view
from mirex.model.network import ResNet50IBN
from mirex.model.weights import Sealed
from mirex.settings import NetworkSettings


def embed(columns: Sequence[Array], *, sealed: Sealed) -> Array:
    """Embeddings of recordings: float32 [recordings, 2048], rows of unit length.

    columns: float32 [84, columns] each, as `mirex.features.cqt.columns` gives them. Raises AudioError for
    columns of another shape or with values that are not finite.
    """
    result = np.zeros((len(columns), sealed.settings.embedding_size), np.float32)
    for index, each in enumerate(columns):
        result[index] = _embed_one(each, sealed)
    return result


def embed_profile(profile: Array, *, sealed: Sealed) -> Array:
    """Embedding, float32 [2048] of unit length, of a recording known by its pitch classes: the folded view's.

    profile: float32 [12, steps], as `mirex.features.views.profile_view` takes it. Compare the embedding with
    others of the same kind only.
    """
    settings = sealed.settings
    found = _parts(profile_view(profile, settings=settings), folded=True, settings=settings)
    return _vector(found, sealed.network.chroma).astype(np.float32)


def views(columns: Array, *, settings: NetworkSettings) -> list[list[Array]]:
    """Network input of a recording: for each view, its playings, float32 [parts, bins, steps of a part]."""
    found = [_parts(cqt_view(columns, settings=settings), folded=False, settings=settings)]
    if settings.chroma_weight > 0:
        found.append(_parts(chroma_view(columns, settings=settings), folded=True, settings=settings))
    return found


def _parts(view: Array, *, folded: bool, settings: NetworkSettings) -> list[Array]:
    """The playings of a view, float32 [parts, bins, steps of a part] each."""
    return [_split(each, settings.max_steps) for each in playings(view, folded=folded, settings=settings)]


def _split(view: Array, most: int) -> Array:
    """Equal parts of at most `most` steps; what an equal division leaves over at the end is dropped."""
    parts = -(-view.shape[1] // most)
    length = view.shape[1] // parts
    return np.ascontiguousarray(view[:, : parts * length].reshape(len(view), parts, length).swapaxes(0, 1))


def _embed_one(columns: Array, sealed: Sealed) -> Array:
    if columns.ndim != 2 or columns.shape[0] != BINS or columns.shape[1] == 0:
        raise AudioError(f"columns of shape {columns.shape}: [84, at least 1] is needed")
    if not np.isfinite(columns).all():
        raise AudioError("columns hold values that are not finite; extract them again")
    found = views(columns, settings=sealed.settings)
    networks = (sealed.network.cqt, sealed.network.chroma)
    vectors = np.stack([_vector(view, network) for view, network in zip(found, networks, strict=False)])
    weights = np.array([1.0, sealed.settings.chroma_weight])[: len(vectors)]
    return _unit((weights[:, None] * vectors).sum(axis=0)).astype(np.float32)


def _vector(found: Sequence[Array], network: ResNet50IBN) -> NDArray[np.float64]:
    """A view's vector from its playings."""
    return _unit(np.mean([_vector_of_parts(parts, network) for parts in found], axis=0))


def _vector_of_parts(parts: Array, network: ResNet50IBN) -> NDArray[np.float64]:
    x = torch.from_numpy(parts[:, None]).to(network.device)
    with torch.inference_mode(), as_on_the_cpu():
        _, embedding = network(x)
    return _unit(_unit(embedding.cpu().numpy().astype(np.float64)).mean(axis=0))


def as_on_the_cpu() -> AbstractContextManager[None]:
    """Where a GPU computes in full precision, the same each time: its cosine with the CPU is above 0.9999.

    By default convolutions round to TF32, and cuDNN may choose algorithms that are not repeatable.
    """
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
