"""Echoes of batches: which come when, the same from any step on, and in other keys."""

import collections

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mirex.features.playing import transpose
from mirex.training.batches import Batch
from mirex.training.echoes import MOST_SEMITONES, Use, echoed, needed, shifted, uses


def _batch(number: int) -> Batch:
    generator = torch.Generator().manual_seed(number)
    cqt, chroma = torch.rand(2, 1, 84, 5, generator=generator), torch.rand(3, 1, 36, 7, generator=generator)
    labels = torch.full((5,), number)
    return Batch(cqt, chroma, labels, labels, labels)


def _echoed(steps, *, first=0):
    numbered = list(enumerate(steps))[first:]
    made = map(_batch, needed(numbered))
    return list(echoed(made, steps=numbered, seed=3))


def test_an_echo_comes_so_many_rounds_later():
    assert uses(8, echoes=1, delay=2) == [
        *(Use(0, 0), Use(1, 0), Use(2, 0), Use(0, 1)),
        *(Use(3, 0), Use(1, 1), Use(4, 0), Use(2, 1)),
    ]
    assert uses(3, echoes=0) == [Use(0, 0), Use(1, 0), Use(2, 0)]


@given(st.integers(0, 120), st.integers(0, 3), st.integers(1, 9))
def test_every_batch_is_new_once_and_no_echo_is_heard_twice(steps, echoes, delay):
    found = uses(steps, echoes=echoes, delay=delay)
    assert len(found) == steps
    assert len(set(found)) == steps
    new = [use.batch for use in found if use.echo == 0]
    assert new == list(range(len(new)))
    counts = collections.Counter(use.batch for use in found)
    early = [batch for batch in new if batch < len(new) - 1 - echoes * delay]
    assert all(counts[batch] == echoes + 1 for batch in early)
    assert found == uses(steps + 7, echoes=echoes, delay=delay)[:steps], "a longer run begins the same"


@given(st.integers(0, 40), st.integers(0, 2))
def test_a_resumed_run_hears_the_same(first, echoes):
    steps = uses(40, echoes=echoes, delay=3)
    whole, resumed = _echoed(steps), _echoed(steps, first=first)
    assert len(resumed) == 40 - first
    for a, b in zip(whole[first:], resumed, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a[:5], b[:5], strict=True))
        assert (a.semitones is None) == (b.semitones is None)
        assert a.semitones is None or torch.equal(a.semitones, b.semitones)


def test_only_echoes_are_moved_and_each_otherwise():
    steps = uses(30, echoes=2, delay=4)
    found = _echoed(steps)
    assert [int(batch.labels[0]) for batch in found] == [use.batch for use in steps]
    assert [batch.semitones is None for batch in found] == [use.echo == 0 for use in steps]
    moves = torch.stack([batch.semitones for batch in found if batch.semitones is not None])
    assert set(moves[:, :2].flatten().tolist()) == set(range(-MOST_SEMITONES, MOST_SEMITONES + 1))
    assert {0, 11} <= set(moves[:, 2:].flatten().tolist()) <= set(range(12))
    assert len({tuple(move) for move in moves.tolist()}) == len(moves)


def test_no_batch_is_made_before_it_is_wanted():
    steps = list(enumerate(uses(60, echoes=2, delay=3)))
    alive: list[int] = []

    def made():
        for number in needed(steps):
            alive.append(number)
            yield _batch(number)

    newest = 0
    for batch, (_, use) in zip(echoed(made(), steps=steps, seed=0), steps, strict=True):
        newest = max(newest, use.batch)
        assert alive == list(range(newest + 1))
        assert batch.labels[0] == use.batch


@pytest.mark.parametrize("folded", [False, True])
def test_moving_against_one_crop_at_a_time(folded):
    views = torch.rand(5, 1, 36 if folded else 84, 9)
    semitones = torch.tensor([0, 1, -2, 7, 11 if folded else -11])
    moved = shifted(views, semitones, folded=folded)
    for view, found, by in zip(views[:, 0].numpy(), moved[:, 0].numpy(), semitones.tolist(), strict=True):
        expected = np.roll(view, by, axis=0) if folded else transpose(view, semitones=by)
        assert np.array_equal(found, expected)
