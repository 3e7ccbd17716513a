"""What is tuned on and what is measured have no work in common, and what is unknown is not in the index."""

from typing import Any

import numpy as np

from benchmarks.scan_accuracy import UNKNOWN, _items, _split


class Corpus:
    """Ten works of two versions, then thirty recordings of one each."""

    recordings = np.arange(50)
    names = [f"artist - song number {n // 2}" for n in range(20)] + [f"x - alone {n}" for n in range(30)]

    def work(self, recording):
        return min(recording, 20) // 2 if recording < 20 else recording


def test_halves_share_nothing_but_the_other_recordings():
    corpus: Any = Corpus()
    known, halves = _split(corpus, unknown=4)
    works = [{recording for versions in half for recording in versions} for half, _ in halves]
    assert not works[0] & works[1]
    assert works[0] | works[1] == set(range(20))
    for _, unknown in halves:
        assert len(unknown) == 4
        assert not set(unknown) & set(known)
    assert not set(halves[0][1]) & set(halves[1][1])
    items = _items(*halves[0], np.random.default_rng(0))
    assert sorted(wanted for wanted, _ in items)[:5] == [UNKNOWN] * 4 + [min(works[0])]
    assert all(recording not in known for _, recording in items)


def test_versions_by_title_are_not_in_the_index():
    corpus: Any = Corpus()
    before, _ = _split(corpus, unknown=4)
    alone = next(recording for recording in before if recording >= 20)
    corpus.names = list(corpus.names)
    corpus.names[alone] = "someone - Song Number 3, live"
    after, _ = _split(corpus, unknown=4)
    assert set(before) - set(after) == {alone}
