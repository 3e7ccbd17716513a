"""Choose or build the Python environment of the scripts, and print its interpreter.

Runs before anything is installed: standard library only, no import of this package.

1. The private environment, `.venv` beside the scripts, if it is whole.
2. Else the interpreter that runs this (`python3`), if it has all that is needed.
3. Else the private environment is built, or brought up to date when the pinned versions have changed.

With MIREX_PYTHON set, step 2 comes first. A stamp, written last, tells a whole environment from one
whose installation was interrupted; a lock keeps two first uses apart.

What is needed stands in two files of a folder: requirements.txt (direct, with the lowest version)
and constraints.txt (everything, pinned).

Usage: environment.py [folder ...]: more folders with such files, for the tests.
"""

import fcntl
import hashlib
import importlib.metadata
import os
import re
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


class EnvironmentFailure(Exception):
    """No environment; the message says what to do."""


def main(arguments: Sequence[str]) -> int:
    """Print the path of the interpreter to use; messages go to stderr."""
    folders = [FOLDER, *map(Path, arguments)]
    try:
        print(choose(FOLDER.parents[1] / ".venv", folders, prefer_this=bool(os.environ.get("MIREX_PYTHON"))))
    except EnvironmentFailure as error:
        say(f"error: {error}")
        return 1
    return 0


def choose(environment: Path, folders: Sequence[Path], *, prefer_this: bool) -> str:
    """The interpreter that has what the folders ask for; builds `environment` if there is none."""
    private = str(environment / "bin" / "python")
    if not prefer_this and is_whole(environment, folders):
        return private
    if not missing(folders):
        return sys.executable
    if not is_whole(environment, folders):
        build(environment, folders)
    return private


def missing(folders: Sequence[Path]) -> list[str]:
    """Requirements that this interpreter does not meet."""
    lines = [line for folder in folders for line in requirements(folder / "requirements.txt")]
    return [line for line in lines if not is_met(line)]


def requirements(path: Path) -> list[str]:
    """The lines of a requirements file, without comments."""
    lines = [line.partition("#")[0].strip() for line in path.read_text("utf-8").splitlines()]
    return [line for line in lines if line]


def is_met(requirement: str) -> bool:
    """Whether a requirement, "name>=version", is met by what is installed."""
    name, _, lowest = requirement.partition(">=")
    try:
        return _numbers(importlib.metadata.version(name)) >= _numbers(lowest)
    except importlib.metadata.PackageNotFoundError:
        return False


def _numbers(version: str) -> list[int]:
    """The leading numbers of a version: "2.1b6" is [2, 1]."""
    return [int(number) for number in re.findall(r"(?:^|\.)(\d+)", version)]


def is_whole(environment: Path, folders: Sequence[Path]) -> bool:
    """Whether the environment has a stamp of today's pins for each folder."""
    try:
        return all(stamp(environment, folder).read_text("utf-8") == pins_hash(folder) for folder in folders)
    except OSError:
        return False


def stamp(environment: Path, folder: Path) -> Path:
    """Where the environment notes that it holds what a folder asks for."""
    return environment / f"{folder.name}.stamp"


def pins_hash(folder: Path) -> str:
    """Hash of both files."""
    files = (folder / "requirements.txt", folder / "constraints.txt")
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()


def build(environment: Path, folders: Sequence[Path]) -> None:
    """Make or update the private environment, unless it is somebody else's."""
    lock = environment.with_name(environment.name + ".lock")
    if environment.exists() and not lock.exists():
        raise EnvironmentFailure(
            f"{environment} was not made by this script and lacks packages; move it away, or name an "
            "interpreter that has them in MIREX_PYTHON"
        )
    try:
        with open(lock, "a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if not is_whole(environment, folders):  # another run may have built it meanwhile
                install(environment, folders)
    except OSError as error:
        raise EnvironmentFailure(
            f"the private environment {environment} cannot be made: {error.strerror or error}; "
            "name an interpreter that has the packages in MIREX_PYTHON"
        ) from error


def install(environment: Path, folders: Sequence[Path]) -> None:
    """Create the environment, unless a whole one only needs other versions; install; stamp."""
    say(f"setting up {environment} (only this once; it takes some minutes)")
    stamps = [stamp(environment, folder) for folder in folders]
    was_whole = any(path.exists() for path in stamps)
    for path in stamps:
        path.unlink(missing_ok=True)
    if not was_whole:
        create(environment)
    files = [argument for folder in folders for argument in _pip_arguments(folder)]
    command = [str(environment / "bin" / "python"), "-m", "pip", "install", "-qq", *files]
    command.append("--disable-pip-version-check")
    if subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sys.stderr.fileno()).returncode:
        raise EnvironmentFailure(
            "installing the packages failed (pip's messages stand above); run the same command again when "
            "the cause is mended, or name an interpreter that has the packages in MIREX_PYTHON"
        )
    for path, folder in zip(stamps, folders, strict=True):
        path.write_text(pins_hash(folder), "utf-8")
    say(f"{environment} is ready")


def create(environment: Path) -> None:
    """An empty environment with pip; what an interrupted installation left is cleared."""
    try:
        venv.create(environment, clear=True, symlinks=True, with_pip=True)
    except subprocess.CalledProcessError as error:
        raise EnvironmentFailure(
            f"{sys.executable} cannot make environments (on Debian: apt install python3-venv); "
            "or name another interpreter in MIREX_PYTHON"
        ) from error


def _pip_arguments(folder: Path) -> list[str]:
    return ["-r", str(folder / "requirements.txt"), "-c", str(folder / "constraints.txt")]


def say(message: str) -> None:
    """One line to stderr."""
    print(f"mirex: {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
