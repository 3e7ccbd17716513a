"""Settings: their canonical form and fingerprints, which must never change by accident."""

import dataclasses
import json

import pytest

from mirex.errors import SettingsMismatch
from mirex.settings import FrontEndSettings, NetworkSettings

BOTH = [FrontEndSettings, NetworkSettings]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [(FrontEndSettings(), "2f47364ddd367f18"), (NetworkSettings(), "78031f6d48c02cae")],
)
def test_fingerprint_of_the_defaults_is_frozen(settings, expected):
    # Another value here means: no embedding and no weights made before can be used any more.
    assert settings.fingerprint() == expected


def test_canonical_json_is_frozen():
    assert FrontEndSettings().to_json() == (
        '{"bins":84,"bins_per_octave":12,"frame":16384,"frames_per_column":20,"hop":512,'
        '"min_frequency":32.703,"sample_rate":22050,"threshold":0.0,"window":"hann"}'
    )


@pytest.mark.parametrize("kind", BOTH)
def test_every_field_changes_the_fingerprint(kind):
    default = kind()
    changed = [default.fingerprint()]
    for field in dataclasses.fields(kind):
        value = getattr(default, field.name)
        other = value + "x" if isinstance(value, str) else value + 1
        changed.append(dataclasses.replace(default, **{field.name: other}).fingerprint())
    assert len(set(changed)) == len(changed)


@dataclasses.dataclass(frozen=True)
class OtherSettings(FrontEndSettings):
    """Same fields, other meaning."""


def test_the_kind_of_settings_changes_the_fingerprint():
    assert OtherSettings().to_json() == FrontEndSettings().to_json()
    assert OtherSettings().fingerprint() != FrontEndSettings().fingerprint()


@pytest.mark.parametrize(
    "settings",
    [
        FrontEndSettings(),
        NetworkSettings(),
        FrontEndSettings(min_frequency=1 / 3, window="hamming"),
        NetworkSettings(level_gain=1e-300, chroma_weight=0.1),
    ],
)
def test_json_round_trip(settings):
    parsed = type(settings).from_json(settings.to_json())
    assert parsed == settings
    assert parsed.fingerprint() == settings.fingerprint()


@pytest.mark.parametrize("kind", BOTH)
def test_order_and_blanks_in_the_json_do_not_matter(kind):
    values = json.loads(kind().to_json())
    text = json.dumps(dict(reversed(values.items())), indent=2)
    assert kind.from_json(text).fingerprint() == kind().fingerprint()


@pytest.mark.parametrize("kind", BOTH)
def test_an_unknown_field_is_named(kind):
    values = json.loads(kind().to_json()) | {"sparkle": 3}
    with pytest.raises(SettingsMismatch, match=f"{kind.__name__}.*sparkle"):
        kind.from_json(json.dumps(values))


@pytest.mark.parametrize("kind", BOTH)
def test_a_missing_field_is_named(kind):
    values = json.loads(kind().to_json())
    name, _ = values.popitem()
    with pytest.raises(SettingsMismatch, match=name):
        kind.from_json(json.dumps(values))


def test_files_without_the_second_order_vector_stay_valid():
    """A field that was added later is not written while it changes nothing."""
    assert "second_order" not in NetworkSettings().to_json()
    assert NetworkSettings.from_json(NetworkSettings().to_json()).second_order_weight == 0
    level = NetworkSettings(second_order_weight=0.7)
    assert "tilt" not in level.to_json()
    assert "phases" not in level.to_json()
    joined = NetworkSettings(second_order_weight=0.7, second_order_tilt=0.5, second_order_phases=2)
    assert joined.fingerprint() != level.fingerprint()
    assert NetworkSettings.from_json(joined.to_json()) == joined


@pytest.mark.parametrize("text", ["", "{", "3", "null", "[1]", '"hop"', "{}", "\0"])
def test_what_is_no_settings_is_a_mismatch(text):
    with pytest.raises(SettingsMismatch):
        FrontEndSettings.from_json(text)


def test_settings_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        FrontEndSettings().hop = 256  # type: ignore[misc]


def test_seconds_per_column():
    assert FrontEndSettings().seconds_per_column == pytest.approx(0.46440, abs=1e-5)
