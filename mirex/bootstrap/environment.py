"""Choose or build the Python environment of the scripts, and print its interpreter.

Runs before anything is installed: standard library only, no import of this package.

1. The private environment, `.venv` beside the scripts, if it is whole.
2. Else the interpreter that runs this (`python3`), if it has all that is needed.
3. Else the private environment is built, or brought up to date when the pinned versions have changed.

With MIREX_PYTHON set, step 2 comes first. A stamp, written once the environment's own Python reports all
that is needed, tells a whole environment from one whose installation was interrupted; it names the Python
that the environment was made with, since one that is gone, or another, cannot use it. A lock keeps two first
uses apart. The private environment sees nothing of PYTHONPATH, PYTHONHOME and pip's settings of where to
install.

What is needed stands in two files of a folder: requirements.txt (direct, with the lowest version)
and constraints.txt (everything, pinned).

Usage: environment.py [folder ...]: more folders with such files, for the tests.
       environment.py --missing folder ...: print what this interpreter lacks.
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
from typing import IO, Any

FOLDER = Path(__file__).resolve().parent
ELSEWHERE = (
    *("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONWARNINGS", "PYTHONUSERBASE", "PYTHONEXECUTABLE"),
    *("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_DRY_RUN", "PIP_USER", "PIP_PYTHON", "PIP_NO_DEPS"),
    *("PIP_REPORT", "PIP_REQUIRE_VIRTUALENV"),
)
# PEP 440, of which this project's requirements use release, pre-release and development numbers.
VERSION = re.compile(
    r"v?(?:(?P<epoch>\d+)!)?(?P<release>\d+(?:\.\d+)*)"
    r"(?:[-_.]?(?P<kind>alpha|beta|preview|pre|rc|a|b|c)[-_.]?(?P<pre>\d*))?"
    r"(?:[-_.]?(?:post|rev|r)[-_.]?(?P<post>\d*))?"
    r"(?:[-_.]?dev[-_.]?(?P<dev>\d*))?(?:\+.*)?"
)


class EnvironmentFailure(Exception):
    """No environment; the message says what to do."""


def main(arguments: Sequence[str]) -> int:
    """Print the path of the interpreter to use; messages go to stderr."""
    if arguments[:1] == ["--missing"]:
        print("\n".join(missing([Path(folder) for folder in arguments[1:]])))
        return 0
    folders = [FOLDER, *map(Path, arguments)]
    try:
        print(choose(FOLDER.parents[1] / ".venv", folders, prefer_this=bool(os.environ.get("MIREX_PYTHON"))))
    except EnvironmentFailure as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        say("error: interrupted while the environment was set up; give the same command again")
        return 1
    return 0


def choose(environment: Path, folders: Sequence[Path], *, prefer_this: bool) -> str:
    """The interpreter that has what the folders ask for; builds `environment` if there is none."""
    private = str(environment / "bin" / "python")
    if not prefer_this and is_whole(environment, folders):
        return private
    lacking = missing(folders)
    if not lacking:
        return sys.executable
    if prefer_this:
        say(f"MIREX_PYTHON lacks {', '.join(lacking)}: the private environment {environment} is used instead")
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
        return version_key(importlib.metadata.version(name)) >= version_key(lowest)
    except importlib.metadata.PackageNotFoundError:
        return False


def version_key(version: str) -> tuple[Any, ...]:
    """Sorts versions as PEP 440 does, local parts left out: 2.1.dev3 < 2.1b6.dev2 < 2.1b6 < 2.1."""
    match = VERSION.fullmatch(version.strip().lower())
    if not match:
        return (0, (), (-1, 0), 0, 0)
    release = tuple(int(number) for number in match["release"].split("."))
    while release and release[-1] == 0:
        release = release[:-1]
    post = int(match["post"] or 0) + 1 if match["post"] is not None else 0
    dev = int(match["dev"] or 0) if match["dev"] is not None else 1 << 60
    if match["kind"]:
        pre = ({"a": 0, "b": 1}.get(match["kind"][0], 2), int(match["pre"] or 0))
    else:
        pre = (-1, 0) if match["dev"] is not None and not post else (9, 0)
    return (int(match["epoch"] or 0), release, pre, post, dev)


def is_whole(environment: Path, folders: Sequence[Path]) -> bool:
    """Whether the environment has a stamp of today's pins for each folder, and of the Python that it has."""
    try:
        made = [stamp(environment, folder).read_text("utf-8").split("\n", 1) for folder in folders]
    except OSError:
        return False
    pins = all(text[0] == pins_hash(folder) for text, folder in zip(made, folders, strict=True))
    return pins and {text[-1] for text in made} == {python_of(environment)}


def python_of(environment: Path) -> str | None:
    """What the environment's Python says of itself; None if it does not start."""
    code = "import sys; print(sys.version, sys.base_prefix)"
    command = [str(environment / "bin" / "python"), "-I", "-c", code]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    except OSError:
        return None
    return None if done.returncode else done.stdout


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
            _wait_for(file)
            if not is_whole(environment, folders):  # another run may have built it meanwhile
                install(environment, folders)
    except OSError as error:
        raise EnvironmentFailure(
            f"the private environment {environment} cannot be made: {error.strerror or error}; "
            "name an interpreter that has the packages in MIREX_PYTHON"
        ) from error


def _wait_for(file: IO[str]) -> None:
    """Take the lock; where the file system has none, say so and go on."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
        say(f"warning: {file.name} cannot be locked ({error.strerror}); do not start two first runs at once")


def install(environment: Path, folders: Sequence[Path]) -> None:
    """Create the environment, unless a whole one only needs other versions; install; stamp."""
    say(f"setting up {environment} (only this once; it takes some minutes)")
    stamps = [stamp(environment, folder) for folder in folders]
    was_whole = any(path.exists() for path in stamps) and python_of(environment) is not None
    for path in stamps:
        path.unlink(missing_ok=True)
    if not was_whole:
        create(environment)
    files = [argument for folder in folders for argument in _pip_arguments(folder)]
    command = [str(environment / "bin" / "python"), "-m", "pip", "install", "-qq", *files]
    command.append("--disable-pip-version-check")
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=sys.stderr.fileno(), env=_environment()
    )
    if done.returncode:
        raise EnvironmentFailure(
            "installing the packages failed (pip's messages stand above); run the same command again when "
            "the cause is mended, or name an interpreter that has the packages in MIREX_PYTHON"
        )
    lacking = _missing_in(environment, folders)
    if lacking:
        raise EnvironmentFailure(
            f"pip says that it installed everything, but {environment} lacks {lacking}; look for settings of "
            "pip ('pip config list') that send packages elsewhere"
        )
    for path, folder in zip(stamps, folders, strict=True):
        path.write_text(f"{pins_hash(folder)}\n{python_of(environment)}", "utf-8")
    say(f"{environment} is ready")


def _missing_in(environment: Path, folders: Sequence[Path]) -> str:
    """What the environment's own Python lacks, in words; empty if it has everything."""
    command = [str(environment / "bin" / "python"), "-P", "-B", __file__, "--missing", *map(str, folders)]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=_environment()
    )
    return ", ".join(done.stdout.split()) if done.returncode == 0 else "a Python that starts"


def _environment() -> dict[str, str]:
    """The process's environment, without what sends Python or pip elsewhere."""
    kept = {name: value for name, value in os.environ.items() if name not in ELSEWHERE}
    return {**kept, "PIP_USER": "0"}


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
