"""Short recordings: sound is counted, silence is not."""

import math

import numpy as np
import pytest

from mirex.features.cqt import columns
from mirex.features.short import SHORTEST, is_short, notes, seconds_of_sound
from mirex.settings import FrontEndSettings, NetworkSettings

FRONT_END, SETTINGS = FrontEndSettings(), NetworkSettings()


def seconds(count, *, silent=0):
    given = np.concatenate([np.zeros((84, silent)), np.ones((84, count))], axis=1).astype(np.float32)
    return seconds_of_sound(given, front_end=FRONT_END, settings=SETTINGS)


def test_silence_counts_for_nothing():
    assert seconds(10) == pytest.approx(10 * FRONT_END.seconds_per_column)
    assert seconds(10, silent=1000) == seconds(10)


@pytest.mark.parametrize(("length", "short"), [(12.0, True), (19.0, True), (20.0, False), (21.0, False)])
def test_twenty_seconds_are_enough(length, short):
    tone = np.sin(0.1 * np.arange(int(length * 22050), dtype=np.float32))
    found = seconds_of_sound(columns(tone), front_end=FRONT_END, settings=SETTINGS)
    assert is_short(found) == short


def test_what_is_not_known_is_not_short():
    assert not is_short(math.nan)
    assert notes(["a", "b", "a"], [SHORTEST / 2, math.nan, SHORTEST / 2]) == notes(["a"], [SHORTEST / 2])
