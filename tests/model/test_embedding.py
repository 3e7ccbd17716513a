"""Embeddings: one recording, one unit vector, whatever else is in the list."""

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple, cast

import numpy as np
import pytest
import torch

import make_vectors
from mirex.errors import AudioError
from mirex.features.playing import playings
from mirex.features.views import chroma_view, cqt_view
from mirex.model import embedding, padded, second_order, weights
from mirex.model.embedding import embed, embed_together, embed_windows, network_vectors
from mirex.model.network import ResNet50IBN, TwoViewNetwork
from mirex.model.weights import Sealed
from mirex.model.whitening import fit
from mirex.settings import NetworkSettings
from random_network import random_network, random_sealed


@pytest.fixture(scope="module")
def sealed() -> Sealed:
    return random_sealed()


@pytest.fixture
def recordings(rng) -> list[np.ndarray]:
    """Three of unlike lengths: 16, 20 and 31 steps."""
    return [(10 ** rng.uniform(-4, 0, (84, columns))).astype(np.float32) for columns in (32, 40, 62)]


@pytest.fixture(scope="module")
def narrow() -> Sealed:
    return random_sealed(settings=NetworkSettings(embedding_size=64))


def with_settings(sealed: Sealed, **changes) -> Sealed:
    return sealed._replace(settings=dataclasses.replace(sealed.settings, **changes))


def network_output(network: ResNet50IBN, view: np.ndarray) -> np.ndarray:
    """The network's unit-length output for one view of one part: float64 [2048]."""
    with torch.inference_mode():
        output = network(torch.from_numpy(np.ascontiguousarray(view))[None, None])[1][0]
    return unit(output.double().numpy())


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


# --- one recording, one vector ------------------------------------------------------------------


def test_batch_of_one_is_batch_of_n(sealed, recordings):
    together = embed(recordings, sealed=sealed)
    assert together.shape == (3, 2048)
    assert together.dtype == np.float32
    for index, columns in enumerate(recordings):
        assert embed([columns], sealed=sealed)[0].tobytes() == together[index].tobytes()
    backwards = embed(recordings[::-1], sealed=sealed)
    assert backwards[::-1].tobytes() == together.tobytes()


def test_two_runs_give_the_same_bytes(sealed, recordings):
    again = random_sealed()
    assert embed(recordings, sealed=again).tobytes() == embed(recordings, sealed=sealed).tobytes()


def test_unit_length(sealed, recordings):
    np.testing.assert_allclose(np.linalg.norm(embed(recordings, sealed=sealed), axis=1), 1, rtol=1e-6)


def test_recordings_differ(sealed, recordings):
    found = embed(recordings, sealed=sealed)
    assert (found @ found.T)[np.triu_indices(3, 1)].max() < 0.9999


def test_no_recordings(sealed):
    assert embed([], sealed=sealed).shape == (0, 2048)


def test_gain_does_not_matter(sealed, recordings):
    found = embed([recordings[0], recordings[0] * np.float32(0.03)], sealed=sealed)
    assert found[0] @ found[1] > 0.99999


def test_columns_given_are_not_changed(sealed, recordings):
    before = recordings[0].copy()
    embed(recordings[:1], sealed=sealed)
    assert np.array_equal(recordings[0], before)


# --- views, playings, windows -------------------------------------------------------------------


def test_embedding_is_the_weighted_sum_of_two_views(sealed, recordings):
    sealed = with_settings(sealed, chroma_weight=0.5, min_steps=1)
    first = network_output(sealed.network.cqt, cqt_view(recordings[2], settings=sealed.settings))
    second = network_output(sealed.network.chroma, chroma_view(recordings[2], settings=sealed.settings))
    found = embed(recordings[2:], sealed=sealed)[0]
    np.testing.assert_allclose(found, unit(first + 0.5 * second), atol=1e-5)


def test_each_view_has_a_whitening_of_its_own(whitened, rng):
    vectors = rng.normal(size=(50, 2048)).astype(np.float32)
    folded_whitening = fit([vectors])
    both = with_settings(whitened._replace(chroma_whitening=folded_whitening), chroma_weight=0.5)
    columns = rng.random((84, 200)).astype(np.float32)
    plain = both._replace(whitening=None, chroma_whitening=None)
    assert whitened.whitening is not None
    views = [
        unit(white.apply(embed_windows(columns, sealed=plain, folded=folded)).mean(axis=0))
        for folded, white in ((False, whitened.whitening), (True, folded_whitening))
    ]
    np.testing.assert_allclose(embed([columns], sealed=both)[0], unit(views[0] + 0.5 * views[1]), atol=1e-5)


def test_a_view_is_the_mean_of_two_playings(sealed, recordings):
    sealed = with_settings(sealed, second_longer=1.1, min_steps=1)
    view = cqt_view(recordings[2], settings=sealed.settings)
    slower = playings(view, folded=False, settings=sealed.settings)[1]
    assert slower.shape[1] == round(1.1 * view.shape[1])
    outputs = [network_output(sealed.network.cqt, each) for each in (view, slower)]
    expected = unit(np.mean(outputs, axis=0))
    np.testing.assert_allclose(embed(recordings[2:], sealed=sealed)[0], expected, atol=1e-5)


def second_order_vector(columns: np.ndarray, sealed: Sealed) -> np.ndarray:
    found = network_vectors(columns, sealed=sealed)[1]
    assert found is not None
    return found


def test_second_moments_are_means_over_the_phases(narrow, rng):
    """The second phase starts one column later, and ends with the last column again."""
    columns = (10 ** rng.uniform(-3, 0, (84, 201))).astype(np.float32)
    moments = []
    for each in (columns, np.concatenate([columns[:, 1:], columns[:, -1:]], axis=1)):
        view = cqt_view(each, settings=narrow.settings)
        moments.append(narrow.network.cqt.infer_moments(view[None], tilt=0.7))
    for phases in (1, 2):
        chosen = with_settings(
            narrow, second_order_weight=1.0, second_order_tilt=0.7, second_order_phases=phases
        )
        expected = unit(second_order.vectors(np.mean(moments[:phases], axis=0)))
        np.testing.assert_allclose(second_order_vector(columns, chosen), expected, atol=1e-6)


def test_second_moments_of_both_phases_move_less_where_a_recording_starts_later(narrow, rng):
    columns = np.repeat(10 ** rng.uniform(-3, 0, (84, 60)), 5, axis=1).astype(np.float32)

    def moved(phases: int) -> float:
        chosen = with_settings(narrow, second_order_weight=1.0, second_order_phases=phases)
        early, late = (second_order_vector(each, chosen) for each in (columns, columns[:, 1:]))
        return float(np.linalg.norm(early - late))

    assert moved(2) < 0.5 * moved(1)


def test_second_moments_are_computed_only_where_they_count(narrow, rng):
    """Not in the chroma view, and not without a weight."""
    columns = rng.random((84, 100)).astype(np.float32)
    views = cast(
        "TwoViewNetwork", TwoViews(Watched(narrow.network.cqt, []), Watched(narrow.network.chroma, []))
    )
    watched = with_settings(narrow, chroma_weight=0.5, second_order_weight=0.0)._replace(network=views)
    np.testing.assert_array_equal(
        embed([columns], sealed=watched),
        embed([columns], sealed=watched._replace(network=narrow.network)),
    )
    assert network_vectors(columns, sealed=watched)[1] is None
    joined = with_settings(watched, second_order_weight=1.0)
    assert network_vectors(columns, sealed=joined, folded=True)[1] is None
    with pytest.raises(AssertionError, match="second moments"):
        network_vectors(columns, sealed=joined)


@pytest.fixture
def whitened(sealed, rng) -> Sealed:
    """With windows of 16 steps, one every 8, and a whitening of some recordings."""
    small = with_settings(sealed, window_steps=16, window_hop=8)
    drawn = (10 ** rng.uniform(-4, 0, (84, columns)) for columns in (200, 260, 320))
    vectors = [embed_windows(columns.astype(np.float32), sealed=small) for columns in drawn]
    return small._replace(whitening=fit(vectors))


def test_a_recording_is_the_mean_of_its_whitened_windows(whitened, rng):
    columns = rng.random((84, 100)).astype(np.float32)  # 50 steps, repeated to 80
    view = np.tile(cqt_view(columns, settings=whitened.settings), 2)[:, :80]
    outputs = [network_output(whitened.network.cqt, view[:, start : start + 16]) for start in range(0, 65, 8)]
    mapped = [unit((each - whitened.whitening.mean) @ whitened.whitening.projection) for each in outputs]
    np.testing.assert_allclose(embed_windows(columns, sealed=whitened), mapped, atol=1e-5)
    np.testing.assert_allclose(embed([columns], sealed=whitened)[0], unit(np.mean(mapped, axis=0)), atol=1e-5)


@pytest.mark.parametrize("steps", [16, 24, 96, 200])
def test_a_block_is_bounded_in_steps(narrow, rng, monkeypatch, steps):
    """A long recording: no block has more than BLOCK steps, and the windows are those of one at a time."""
    columns, limit = rng.random((84, 500)).astype(np.float32), 100
    long = with_settings(narrow, window_steps=steps, window_hop=steps // 2)
    monkeypatch.setattr(embedding, "BLOCK", 1)
    expected = embed_windows(columns, sealed=long)
    shapes: list[tuple[int, ...]] = []
    views = cast("TwoViewNetwork", TwoViews(Watched(narrow.network.cqt, shapes)))
    watched = long._replace(network=views)
    monkeypatch.setattr(embedding, "BLOCK", limit)
    np.testing.assert_allclose(embed_windows(columns, sealed=watched), expected, rtol=0, atol=1e-5)
    assert sum(count for count, *_ in shapes) == len(expected)
    assert {length for *_, length in shapes} == {steps}
    full = [count for count, *_ in shapes[:-1]]
    assert full == [max(limit // steps, 1)] * len(full)


class Watched:
    """A network that notes the shapes of its input."""

    def __init__(self, network: ResNet50IBN, shapes: list[tuple[int, ...]]) -> None:
        self.network, self.shapes = network, shapes

    def infer(self, windows: np.ndarray) -> np.ndarray:
        self.shapes.append(windows.shape)
        return self.network.infer(windows)

    def infer_moments(self, windows: np.ndarray, *, tilt: float) -> np.ndarray:
        raise AssertionError("second moments, which nobody uses")


class TwoViews(NamedTuple):
    cqt: Watched
    chroma: Watched | None = None


def test_todays_memory_is_that_of_the_longest_window():
    assert NetworkSettings().window_steps == embedding.BLOCK


def test_whitening_changes_what_is_near(whitened, sealed, recordings):
    plain, white = embed(recordings, sealed=sealed), embed(recordings, sealed=whitened)
    pairs = np.triu_indices(3, 1)
    assert (white @ white.T)[pairs].max() < (plain @ plain.T)[pairs].min() - 0.1


def test_silence_around_and_inside_does_not_count(sealed, recordings):
    quiet = np.full((84, 300), 1e-6, np.float32)
    spread = np.concatenate([quiet, recordings[0][:, :16], quiet, recordings[0][:, 16:], quiet], axis=1)
    found = embed([recordings[0], spread], sealed=sealed)
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)


# --- odd columns --------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0.0, 1e-38, 1e-6, 1e30])
@pytest.mark.parametrize("columns", [1, 40])
def test_silent_and_constant_columns_have_an_embedding(sealed, level, columns):
    found = embed([np.full((84, columns), level, np.float32)], sealed=sealed)
    assert np.linalg.norm(found) == pytest.approx(1, rel=1e-6)


def test_silence_of_any_length_is_one_vector(sealed):
    found = embed([np.zeros((84, columns), np.float32) for columns in (1, 5, 32)], sealed=sealed)
    np.testing.assert_array_equal(found[1:], found[:-1])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_columns_that_are_not_finite(sealed, value):
    columns = np.ones((84, 40), np.float32)
    columns[83, 39] = value
    with pytest.raises(AudioError, match="not finite"):
        embed([columns], sealed=sealed)


@pytest.mark.parametrize("shape", [(84, 0), (83, 10), (12, 10), (84,), (1, 84, 10)])
def test_columns_of_another_shape(sealed, shape):
    with pytest.raises(AudioError, match="shape"):
        embed([np.zeros(shape, np.float32)], sealed=sealed)


# --- threads and devices ------------------------------------------------------------------------


@pytest.fixture
def _threads_restored() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_threads_restored")
def test_threads_change_rounding_only(sealed, recordings):
    # So `mirex.extraction.worker` always uses one; bytes then do not depend on -numThreads.
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(embed(recordings[:1], sealed=sealed))
    np.testing.assert_allclose(found[0], found[1], rtol=0, atol=1e-5)


def test_recordings_may_share_blocks(narrow, recordings, monkeypatch):
    """Of several windows and of one, of unlike lengths, in two views, each played twice."""
    several = with_settings(
        narrow, min_steps=20, window_steps=28, window_hop=14, chroma_window_steps=24, chroma_window_hop=5,
        chroma_weight=0.5, second_longer=1.1,
    )  # fmt: skip
    recordings, block = [*recordings, recordings[0][:, :6], np.tile(recordings[1], 3)], 128
    shapes, blocks = [], padded.blocks

    def watched(windows, *, rows, steps):
        shapes.append((len(windows), rows, steps))
        return blocks(windows, rows=rows, steps=steps)

    expected = embed(recordings, sealed=several)
    monkeypatch.setattr(embedding, "SHARED_BLOCK", block)
    monkeypatch.setattr(padded, "blocks", watched)
    np.testing.assert_allclose(embed_together(recordings, sealed=several), expected, rtol=0, atol=1e-5)
    assert {(rows, steps) for _, rows, steps in shapes} == {(block // 32, 32)}
    assert len(shapes) == 2, "windows of different recordings and lengths go together"
    assert embed_together([], sealed=several).shape == (0, 64)


@pytest.mark.parametrize("steps", [16, 512])
def test_company_in_a_block_changes_no_byte(narrow, recordings, monkeypatch, steps):
    """Neither for recordings of several windows nor for whole ones."""
    monkeypatch.setattr(embedding, "SHARED_BLOCK", 128)
    sealed = with_settings(narrow, window_steps=steps, window_hop=steps // 2, min_steps=1)
    together = embed_together(recordings, sealed=sealed)
    assert embed_together(recordings[::-1], sealed=sealed)[::-1].tobytes() == together.tobytes()
    for index, columns in enumerate(recordings):
        assert embed_together([columns], sealed=sealed)[0].tobytes() == together[index].tobytes()


def test_what_cannot_be_embedded_is_an_error_for_all_together(sealed, recordings):
    with pytest.raises(AudioError, match="finite"):
        embed_together([*recordings, np.full((84, 9), np.nan, np.float32)], sealed=sealed)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_agrees_with_the_cpu(sealed, recordings):
    on_cuda = sealed._replace(network=random_network().cuda())
    found, expected = embed(recordings, sealed=on_cuda), embed(recordings, sealed=sealed)
    assert (found * expected).sum(axis=1).min() > 0.9999
    alone = embed(recordings[:1], sealed=on_cuda)
    assert alone.tobytes() == found[:1].tobytes()
    together = embed_together(recordings, sealed=on_cuda)
    assert (together * expected).sum(axis=1).min() > 0.9999


# --- the shipped weights ------------------------------------------------------------------------


@pytest.mark.skipif(not weights.default_path().is_file(), reason="weights/mirex.safetensors is not there yet")
def test_shipped_weights_give_the_frozen_embeddings_of_the_demo():
    shipped = weights.load()
    frozen = make_vectors.load_demo_embeddings()
    again = "new weights: run tests/make_vectors.py embeddings"
    assert frozen["fingerprint"] == shipped.fingerprint, again
    assert list(frozen["names"]) == [path.name for path in make_vectors.demo_files()]
    found = make_vectors.embed_demo(shipped)
    assert (1 - (found * frozen["embeddings"]).sum(axis=1)).max() < 1e-5
