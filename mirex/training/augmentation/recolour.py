"""Augmentation of magnitudes and of network input.

Sound: contrast, equaliser curve, resonances, unsteady pitch and level, noise floor, detuning, lost bass or
treble, level changes over time, on magnitudes [84, columns]; a simpler version on pitch-class profiles.
SpecAugment (Park et al., Interspeech 2019): whole bands and time ranges of the network input are set to 0.
Key and tempo are drawn here; `mirex.features.playing` applies them. Transposition shifts bins and
fills with silence. It never rolls, which would put bass notes on top.
"""

import numpy as np

from mirex._typing import Array
from mirex.features.playing import transpose
from mirex.features.views import loudest_to_one

MAX_TRANSPOSITION = 6
NOISE_SPREAD_DB = 3.0


def invariance(strength: float) -> float:
    """How far tempo, key and tuning may vary at a strength of augmentation: over the full range from 0.5 on.

    They do not change the music, whereas a new arrangement removes some of it; so they can vary widely while
    the rest is still mild.

    Parameters
    ----------
    strength : float
        Of augmentation, in [0, 1].

    Returns
    -------
    float
        Share of the full range, in [0, 1].
    """
    return min(1.0, 2.0 * strength)


def draw_key(*, strength: float, generator: np.random.Generator) -> int:
    """Draw a transposition.

    Parameters
    ----------
    strength : float
        Of augmentation, in [0, 1]. The range is full from 0.5 on (`invariance`).
    generator : numpy.random.Generator
        Draws the key.

    Returns
    -------
    int
        Semitones to transpose by, -MAX_TRANSPOSITION to MAX_TRANSPOSITION at full range.
    """
    most = MAX_TRANSPOSITION + 0.5
    return round(generator.uniform(-most, most) * invariance(strength))


def draw_tempo(*, most: float, strength: float, generator: np.random.Generator) -> float:
    """Draw a change of tempo.

    Parameters
    ----------
    most : float
        Largest factor at full range, 1 or more; the smallest is 1 / most.
    strength : float
        Of augmentation, in [0, 1]. The range is full from 0.5 on (`invariance`).
    generator : numpy.random.Generator
        Draws the tempo.

    Returns
    -------
    float
        Factor of speed, 1 / most to most at full range.
    """
    return float(np.exp(generator.uniform(-1, 1) * np.log(most) * invariance(strength)))


def draw_tuning(*, strength: float, generator: np.random.Generator) -> float:
    """Draw a tuning: old tapes and bands may have any.

    Parameters
    ----------
    strength : float
        Of augmentation, in [0, 1]. The range is full from 0.5 on (`invariance`).
    generator : numpy.random.Generator
        Draws the tuning.

    Returns
    -------
    float
        Semitones off 440 Hz, -0.5 to 0.5 at full range.
    """
    return float(generator.uniform(-0.5, 0.5)) * invariance(strength)


def detune(columns: Array, *, bins: float) -> Array:
    """Shift by a fraction of a bin: power is shared between neighbours.

    Parameters
    ----------
    columns : float32 [bins, columns]
        Magnitudes.
    bins : float
        Bins to shift by, in [-1, 1]; above 0 is up.

    Returns
    -------
    float32 [bins, columns]
        Magnitudes.
    """
    power = columns**2
    moved = transpose(power, semitones=1 if bins > 0 else -1)
    share = np.float32(abs(bins))
    return np.sqrt((1 - share) * power + share * moved)


def blur(columns: Array, *, share: float) -> Array:
    """Spread each bin's power to both neighbours: vibrato, choirs, old tapes.

    Parameters
    ----------
    columns : float32 [bins, columns]
        Magnitudes.
    share : float
        Share of the power that goes to each neighbour, in [0, 0.5].

    Returns
    -------
    float32 [bins, columns]
        Magnitudes.
    """
    power = columns**2
    beside = transpose(power, semitones=1) + transpose(power, semitones=-1)
    return np.sqrt((1 - 2 * np.float32(share)) * power + np.float32(share) * beside)


def recolour(columns: Array, *, strength: float, generator: np.random.Generator) -> Array:
    """Change the sound of a crop at random.

    Draws detuning, blur, contrast, an equaliser curve with resonances, unsteadiness, a slow change of level,
    a noise floor, and a loss of bass and treble.

    Parameters
    ----------
    columns : float32 [84, columns]
        Magnitudes.
    strength : float
        Of augmentation, in [0, 1].
    generator : numpy.random.Generator
        Draws all of these.

    Returns
    -------
    float32 [84, columns]
        Magnitudes.
    """
    bins, length = columns.shape
    result = detune(columns, bins=draw_tuning(strength=strength, generator=generator))
    if generator.random() < strength:
        result = blur(result, share=float(generator.uniform(0, 0.15)))
    # Mostly less: in recordings, quiet and loud parts are closer together than in rendered scores.
    result = result ** np.float32(np.exp(generator.normal(-0.2, 0.25) * strength))
    resonances = generator.normal(0, generator.uniform(0, 4.0) * strength, (bins, 1))
    unsteadiness = _spread(generator.uniform(0, 3.0) * strength, columns.shape, generator)
    result = result * _amplitude(resonances.astype(np.float32) + unsteadiness)
    decibels = generator.normal(0, 6.0, 5) * strength
    curve = np.interp(np.arange(bins), np.linspace(0, bins - 1, 5), decibels)
    swell = np.interp(
        np.arange(length), np.linspace(0, length - 1, 4), generator.normal(0, 3.0, 4) * strength
    )
    result = result * _amplitude(curve.astype(np.float32))[:, None] * _amplitude(swell.astype(np.float32))
    if generator.random() < 0.9 * strength:
        result = _with_noise(result, generator)
    if generator.random() < 0.25 * strength:
        cut = int(generator.integers(40, 78))
        result[cut:] *= (10 ** (-0.15 * np.arange(1, bins - cut + 1)))[:, None].astype(np.float32)
    if generator.random() < 0.25 * strength:
        cut = int(generator.integers(6, 30))
        result[:cut] *= (10 ** (-0.1 * np.arange(cut, 0, -1)))[:, None].astype(np.float32)
    return result.astype(np.float32)


def recolour_profile(profile: Array, *, strength: float, generator: np.random.Generator) -> Array:
    """Change a profile as another arrangement, room or way of computing profiles would.

    Draws contrast, resonances, unsteadiness, a floor that is added or removed and, half of the time, smearing
    over time.

    Parameters
    ----------
    profile : float32 [12, steps]
        In [0, 1], each step's loudest class 1.
    strength : float
        Of augmentation, in [0, 1].
    generator : numpy.random.Generator
        Draws all of these.

    Returns
    -------
    float32 [12, steps]
        In [0, 1], each step's loudest class 1. Silent steps stay 0, except for what their neighbours smear
        into them.
    """
    bins, length = profile.shape
    contrast = np.exp(generator.normal(0, 0.3 * strength))
    resonances = generator.normal(0, generator.uniform(0, 3.0) * strength, (bins, 1))
    unsteadiness = generator.normal(0, generator.uniform(0, 2.0) * strength, (bins, length))
    floor = generator.uniform(-0.2, 0.2) * strength
    smear = generator.uniform(0, 0.2) * strength * generator.integers(2)
    result = profile**contrast * 10 ** ((resonances + unsteadiness) / 20)
    padded = np.pad(result, ((0, 0), (1, 1)), mode="edge")
    result = (1 - 2 * smear) * result + smear * (padded[:, :-2] + padded[:, 2:])
    result = np.maximum((1 - floor) * result + floor * result.max(axis=0), 0.0)
    return loudest_to_one(result, silence=0.0)


def _with_noise(columns: Array, generator: np.random.Generator) -> Array:
    reference = np.sqrt(np.mean(columns.max(axis=0) ** 2))
    level = reference * 10 ** (generator.uniform(-50, -18) / 20)
    # The higher a band of constant Q, the more white noise it gets; pink noise is the same in all.
    colour = 2 ** (np.arange(len(columns)) / 24 * generator.uniform(-0.5, 1.0))
    floor = (level * colour / colour.mean()).astype(np.float32)[:, None]
    noise = floor * _amplitude(_spread(NOISE_SPREAD_DB, columns.shape, generator))
    return np.sqrt(columns**2 + noise**2)


def _spread(deviation: float, shape: tuple[int, ...], generator: np.random.Generator) -> Array:
    # Uniform, since drawing from a normal distribution takes several times as long.
    half_width = np.float32(deviation * np.sqrt(3))
    return half_width * (2 * generator.random(shape, dtype=np.float32) - 1)


def _amplitude(decibels: Array) -> Array:
    return np.exp(decibels * np.float32(np.log(10) / 20))


def mask(view: Array, *, strength: float, generator: np.random.Generator) -> Array:
    """SpecAugment: set a band of bins and a range of steps to 0, each with probability `strength` / 2.

    Parameters
    ----------
    view : float32 [bins, steps]
        Network input, of 24 bins or more.
    strength : float
        Of augmentation, in [0, 1].
    generator : numpy.random.Generator
        Draws whether to mask, where, and how wide.

    Returns
    -------
    float32 [bins, steps]
        A copy, in which one band of up to 24 bins and one range of up to a tenth of the steps may be 0.
    """
    result = view.copy()
    bins, length = view.shape
    if generator.random() < strength * 0.5:
        width = int(generator.integers(1, 25))
        start = int(generator.integers(0, bins - width + 1))
        result[start : start + width] = 0
    if generator.random() < strength * 0.5:
        width = int(generator.integers(1, max(length // 10, 1) + 1))
        start = int(generator.integers(0, length - width + 1))
        result[:, start : start + width] = 0
    return result
