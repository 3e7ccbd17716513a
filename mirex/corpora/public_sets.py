"""Public test sets of version identification: their published id lists, and a user's copy of their audio.

Each reader takes the lists as published and a folder of audio. It gives tracks with the attributes of
`mirdata` loaders (`track_id`, `work_id`, `performance_id`; for Da-TACOS its loader's identifiers
too), and `audio_path`, None if the user has no such file. Audio is found anywhere below the folder, by the
file's name without its extension.

covers80    D. Ellis, 2007: `list1.list` and `list2.list` of covers80.tgz (on its page `list1.txt` and so on),
            lines of "work/performance"; the audio is laid out in the same way, in a folder for each work,
            or all in one.
da-tacos    F. Yesiler et al., ISMIR 2019: `da-tacos_benchmark_subset_metadata.json`, which
            da-tacos_metadata.zip unpacks into a folder, {work: {performance: {...}}}; audio by performance,
            P_22.mp3.
shs100k     X. Xu et al., ICASSP 2018 (SHS100K2): `SHS100K-TEST`, lines of "set_id<TAB>ver_id", and `list`,
            lines of set_id, ver_id, title, performer, address, status; audio by "set_id-ver_id",
            "set_id_ver_id" or the address's YouTube identifier.
discogs-vi  O. Araz et al., ISMIR 2024: `Discogs-VI-YT-20240701-light.json.test`, {clique: [{"version_id",
            "youtube_id"}]}; audio by YouTube identifier.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mirex.errors import EvaluationError

ENDINGS = {".mp3", ".m4a", ".mp4", ".aac", ".ogg", ".opus", ".flac", ".wav", ".webm", ".wma", ".mka"}
COVERS80_LISTS = ("list1", "list2")
YOUTUBE = re.compile(r"(?:v=|youtu\.be/|/embed/|/v/)([\w-]{11})")

CLOSED = {
    "shs100k": "these weights were trained on chroma of works of SHS100K-TEST, so it cannot test them",
    "discogs-vi": "its test split includes works of SHS100K-TEST by design, and these weights were trained "
    "on chroma of them",
}
"""Sets on which the shipped weights must not be tested, and why."""

CAUTIONS = {
    "covers80": "works of covers80 were removed from the training data by title and by comparison",
    "da-tacos": "whether its works overlap with those of SHS100K-TEST, which are in the training data, has "
    "not been checked",
}


class Track(NamedTuple):
    """One recording of a set.

    Attributes
    ----------
    track_id : str
        Unique in the set.
    work_id : str
        Equal for versions of one work.
    performance_id : str
        The recording's identifier in the published lists.
    audio_path : Path or None
        The user's file.
    """

    track_id: str
    work_id: str
    performance_id: str
    audio_path: Path | None


def tracks(name: str, *, lists: Path, audio: Path) -> list[Track]:
    """Read a set's lists and find its audio.

    Parameters
    ----------
    name : str
        One of READERS.
    lists : Path
        The published file, or its folder.
    audio : Path
        Folder of the audio, which may be in subfolders.

    Returns
    -------
    list of Track
        All tracks of the lists, in their order.

    Raises
    ------
    EvaluationError
        If the lists cannot be read, or none of their recordings is found.
    """
    if not audio.is_dir():
        raise EvaluationError(f"{audio}: not a folder; name the one with the audio of {name}")
    try:
        found = list(READERS[name](lists, audio))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EvaluationError(f"{lists}: not the published lists of {name} ({error})") from error
    if not any(track.audio_path for track in found):
        example = f", for instance {found[0].performance_id}" if found else ""
        raise EvaluationError(f"{audio}: has none of the {len(found)} recordings of {name}{example}")
    return found


def missing_text(name: str, found: list[Track], *, most: int = 5) -> str:
    """Say how many recordings of a set were found, and which are missing.

    Parameters
    ----------
    name : str
        Of the set.
    found : list of Track
        All of the set.
    most : int
        How many of the missing to name at most; the others are counted.

    Returns
    -------
    str
        One line.
    """
    missing = [track.performance_id for track in found if track.audio_path is None]
    text = f"{name}: {len(found) - len(missing)} of {len(found)} recordings found"
    if not missing:
        return text
    more = f" and {len(missing) - most} more" if len(missing) > most else ""
    return f"{text}; missing: {', '.join(missing[:most])}{more}"


def _covers80(lists: Path, audio: Path) -> Iterator[Track]:
    in_folders = {(path.parent.name, path.stem): path for path in _audio_files(audio)}
    in_one = _by_stem(audio)
    for name in COVERS80_LISTS:
        for line in _published(lists, f"{name}.list", f"{name}.txt").read_text("utf-8").splitlines():
            work, performance = line.strip().split("/")[-2:]
            performance = Path(performance).stem if Path(performance).suffix in ENDINGS else performance
            path = in_folders.get((work, performance)) or in_one.get(performance)
            yield Track(f"{work}/{performance}", work, performance, path)


def _da_tacos(lists: Path, audio: Path) -> Iterator[Track]:
    files = _by_stem(audio)
    for work, performances in _json(lists, "da-tacos_benchmark_subset_metadata.json").items():
        for performance in performances:
            track = f"benchmark#{work}#{performance}"
            yield Track(track, work, performance, files.get(performance))


def _shs100k(lists: Path, audio: Path) -> Iterator[Track]:
    files = _by_stem(audio)
    address = {}
    for line in _published(lists, "list").read_text("utf-8", "replace").splitlines():
        fields = line.split("\t")
        if found := YOUTUBE.search(line):
            address["-".join(fields[:2])] = found[1]
    for line in _published(lists, "SHS100K-TEST").read_text("utf-8").splitlines():
        work, version = line.split("\t")[:2]
        performance = f"{work}-{version}"
        names = (performance, f"{work}_{version}", address.get(performance, ""))
        path = next((files[name] for name in names if name in files), None)
        yield Track(performance, work, performance, path)


def _discogs_vi(lists: Path, audio: Path) -> Iterator[Track]:
    files = _by_stem(audio)
    for clique, versions in _json(lists, "*light.json.test", "*test*.json").items():
        for version in versions:
            youtube = version["youtube_id"]
            yield Track(f"{clique}:{version['version_id']}", clique, youtube, files.get(youtube))


READERS: Mapping[str, Callable[[Path, Path], Iterator[Track]]] = {
    "covers80": _covers80,
    "da-tacos": _da_tacos,
    "shs100k": _shs100k,
    "discogs-vi": _discogs_vi,
}


def _json(lists: Path, *patterns: str) -> dict[str, Any]:
    return dict(json.loads((lists if lists.is_file() else _published(lists, *patterns)).read_text("utf-8")))


def _published(lists: Path, *patterns: str) -> Path:
    """A published file below the folder: of the first pattern that matches, the first of the least deep."""
    for pattern in patterns:
        if found := sorted(lists.rglob(pattern), key=lambda path: (len(path.parts), path)):
            return found[0]
    return lists / patterns[0]


def _by_stem(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in _audio_files(folder)}


def _audio_files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.suffix.lower() in ENDINGS)
