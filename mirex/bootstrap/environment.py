"""Choose or build the Python environment of the scripts, and print its interpreter.

Runs before anything is installed: standard library only, no import of this package.

1. Use the private environment, `.venv` beside the scripts, if it is complete.
2. Otherwise use the interpreter that runs this (`python3`), if it has all requirements.
3. Otherwise build the private environment, or update it if the pinned versions have changed.

With MIREX_PYTHON set, step 2 comes first. A stamp, written last, distinguishes a complete environment from
one whose installation was interrupted. It is trusted only if the environment's own Python starts, is of the
kind that the environment was made with, and has every requirement. A lock keeps simultaneous first runs
apart.

Each folder lists its requirements in two files: requirements.txt (direct ones, with the lowest version)
and constraints.txt (all of them, pinned).

The user's Python and pip settings do not apply to this environment. PYTHONPATH is used only if the user's own
interpreter lacks packages without it; a second line, "PYTHONPATH", then follows the interpreter's. Of pip's
settings, those that say where packages come from are kept, and those that say where they go are not.

Usage: environment.py [folder ...]: with further folders of requirements, for the tests.
       environment.py --report folder ...: print what this interpreter is and lacks, as JSON.
"""

import ast
import contextlib
import fcntl
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

FOLDER = Path(__file__).resolve().parent
USER_PATH = "MIREX_USER_PYTHONPATH"  # where environment.sh puts the user's PYTHONPATH

# Pip's settings that say how to reach packages.
PIP_SETTINGS = frozenset({
    "index-url", "extra-index-url", "find-links", "no-index", "trusted-host", "proxy", "cert", "client-cert",
    "timeout", "retries", "resume-retries", "cache-dir", "no-cache-dir", "keyring-provider", "use-feature",
})  # fmt: skip
_FULL = 100 << 20  # bytes: a disk with less is full

# PEP 440, appendix B; a version's local part (+cpu) does not count in ">=".
_VERSION = re.compile(
    r"v?(?:(?P<epoch>\d+)!)?(?P<release>\d+(?:\.\d+)*)"
    r"(?:[-_.]?(?P<pre>alpha|a|beta|b|preview|pre|c|rc)[-_.]?(?P<pre_number>\d*))?"
    r"(?P<post>-(?P<post_bare>\d+)|[-_.]?(?:post|rev|r)[-_.]?(?P<post_number>\d*))?"
    r"(?P<dev>[-_.]?dev[-_.]?(?P<dev_number>\d*))?(?:\+[a-z0-9]+(?:[-_.][a-z0-9]+)*)?",
    re.IGNORECASE | re.ASCII,
)
_PRE = {"a": 0, "alpha": 0, "b": 1, "beta": 1}  # else a candidate, 2


class EnvironmentFailure(Exception):
    """There is no usable environment; the message says what to do."""


def main(arguments: Sequence[str]) -> int:
    """Print the path of the interpreter to use.

    Messages go to stderr. A second line, "PYTHONPATH", follows the path if the interpreter needs the user's.

    Parameters
    ----------
    arguments : sequence of str
        Further folders with requirements, or `--report` and folders.

    Returns
    -------
    int
        Exit status: 0, or 1 if there is no usable environment.
    """
    if arguments[:1] == ["--report"]:
        print(json.dumps([identity(), missing([*map(Path, arguments[1:])])]))
        return 0
    folders = [FOLDER, *map(Path, arguments)]
    try:
        with _termination():
            python = choose(
                FOLDER.parents[1] / ".venv", folders, prefer_this=bool(os.environ.get("MIREX_PYTHON"))
            )
    except EnvironmentFailure as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        say("error: interrupted; run the same command again to finish the setup")
        return 1
    print(python)
    if python == sys.executable and missing(folders):
        print("PYTHONPATH")
    return 0


def choose(environment: Path, folders: Sequence[Path], *, prefer_this: bool) -> str:
    """Find an interpreter that has all requirements; build the private environment if none has.

    Parameters
    ----------
    environment : Path
        The private environment.
    folders : sequence of Path
        Folders with requirements.txt and constraints.txt.
    prefer_this : bool
        Try the interpreter that runs this before the private environment.

    Returns
    -------
    str
        Path of the interpreter.

    Raises
    ------
    EnvironmentFailure
        If the private environment cannot be built.
    """
    private = str(environment / "bin" / "python")
    whole = None if prefer_this else is_whole(environment, folders)
    if whole:
        return private
    lacking = missing(folders)
    if not lacking or _user_path_has_all(folders):
        return sys.executable
    if prefer_this:
        lacks = ", ".join(lacking)
        say(f"warning: MIREX_PYTHON={sys.executable} lacks {lacks}; using {environment} instead")
        whole = is_whole(environment, folders)
    if not whole:
        build(environment, folders)
    return private


def _user_path_has_all(folders: Sequence[Path]) -> bool:
    """Whether this interpreter has all requirements with the user's PYTHONPATH."""
    parts = [part for part in os.environ.get(USER_PATH, "").split(os.pathsep) if part]
    return bool(parts) and not missing(folders, path=[*parts, *sys.path])


# What is installed


def missing(folders: Iterable[Path], *, path: Sequence[str] | None = None) -> list[str]:
    """List the requirements that this interpreter does not meet.

    Parameters
    ----------
    folders : iterable of Path
        Folders with a requirements.txt.
    path : sequence of str, optional
        Where to look for packages; `sys.path` by default.

    Returns
    -------
    list of str
        Lines of the requirements files.
    """
    lines = [line for folder in folders for line in requirements(folder / "requirements.txt")]
    return [line for line in lines if not is_met(line, path=path)]


def requirements(path: Path) -> list[str]:
    """Read the lines of a requirements file, without comments.

    Parameters
    ----------
    path : Path
        A requirements.txt.

    Returns
    -------
    list of str
        One requirement each, "name>=version".
    """
    lines = [line.partition("#")[0].strip() for line in path.read_text("utf-8").splitlines()]
    return [line for line in lines if line]


def is_met(requirement: str, *, path: Sequence[str] | None = None) -> bool:
    """Whether what is installed meets a requirement; pre-releases count too.

    Parameters
    ----------
    requirement : str
        "name" or "name>=version".
    path : sequence of str, optional
        Where to look for packages; `sys.path` by default.

    Returns
    -------
    bool
        False also for a package whose metadata cannot be read.
    """
    name, _, lowest = requirement.partition(">=")
    found = importlib.metadata.distributions(name=name.strip(), path=list(sys.path if path is None else path))
    try:
        # The first on the path is the one that is imported.
        version = next((distribution.metadata["Version"] for distribution in found), None)
        return version is not None and (not lowest or version_key(version) >= version_key(lowest))
    except (
        ValueError,
        TypeError,
        KeyError,
        OSError,
    ):  # not a version; or the remains of a removed package have none
        return False


def version_key(version: str) -> tuple[object, ...]:
    """Sort key of a version, in the order of `packaging` (PEP 440), without the local part.

    `packaging` itself cannot be used: this runs before anything is installed, even on a Python without pip.

    Parameters
    ----------
    version : str
        Such as "2.13.0rc1".

    Returns
    -------
    tuple
        Compares as the versions do.

    Raises
    ------
    ValueError
        If `version` is not a valid version.
    """
    match = _VERSION.fullmatch(version.strip())
    if not match:
        raise ValueError(f"{version!r} is not a version")
    release = tuple(map(int, match["release"].split(".")))
    while len(release) > 1 and release[-1] == 0:
        release = release[:-1]
    post = int(match["post_bare"] or match["post_number"] or 0) if match["post"] else -1
    dev = float(match["dev_number"] or 0) if match["dev"] else float("inf")
    if match["pre"]:
        pre = _PRE.get(match["pre"].lower(), 2), int(match["pre_number"] or 0)
    else:  # 1.0.dev1 comes before 1.0a1, which comes before 1.0
        pre = (-1 if match["dev"] and not match["post"] else 3), 0
    return int(match["epoch"] or 0), release, pre, post, dev


def identity() -> str:
    """Describe this interpreter by what compiled packages depend on.

    An environment works only with the kind of Python that it was made with.

    Returns
    -------
    str
        Cache tag, ABI flags, platform and word size.
    """
    machine = getattr(sys.implementation, "_multiarch", sys.platform)
    return f"{sys.implementation.cache_tag} {sys.abiflags} {machine} {sys.maxsize:x}".replace("  ", " ")


def report(environment: Path, folders: Sequence[Path]) -> tuple[str, list[str]] | None:
    """Ask the environment's own Python what it is and what it lacks.

    Parameters
    ----------
    environment : Path
        The private environment.
    folders : sequence of Path
        Folders with a requirements.txt.

    Returns
    -------
    tuple of str and list of str, or None
        Its `identity` and its `missing` requirements; None if it does not start.
    """
    command = [str(environment / "bin" / "python"), "-I", "-B", __file__, "--report", *map(str, folders)]
    try:
        variables = _clean_environment()
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env=variables)
        told, lacking = json.loads(done.stdout)
        return str(told), [*map(str, lacking)]
    except (OSError, ValueError, TypeError):
        return None


def is_whole(environment: Path, folders: Sequence[Path]) -> bool:
    """Whether the environment is complete: stamped with the current pins, and the stamps are true.

    Parameters
    ----------
    environment : Path
        The private environment.
    folders : sequence of Path
        Folders with requirements.txt and constraints.txt; each needs a stamp.

    Returns
    -------
    bool
    """
    noted = [_read_stamp(environment, folder) for folder in folders]
    if any(note is None or note[0] != pins_hash(f) for note, f in zip(noted, folders, strict=True)):
        return False
    found = report(environment, folders)
    return found is not None and not found[1] and all(note and note[1] == found[0] for note in noted)


def stamp(environment: Path, folder: Path) -> Path:
    """Path of the file that records that the environment holds what a folder asks for, and for which Python.

    Parameters
    ----------
    environment : Path
        The private environment.
    folder : Path
        A folder with requirements.txt and constraints.txt.

    Returns
    -------
    Path
        A file in the environment, which need not exist.
    """
    return environment / f"{folder.name}.stamp"


def _read_stamp(environment: Path, folder: Path) -> tuple[str, str] | None:
    """(hash of the pins, identity) from the stamp; the identity is empty in stamps of earlier versions."""
    try:
        pins, _, told = stamp(environment, folder).read_text("utf-8").partition("\n")
    except (OSError, ValueError):
        return None
    return pins, told.rstrip("\n")


def pins_hash(folder: Path) -> str:
    """Hash a folder's requirements.txt and constraints.txt.

    Parameters
    ----------
    folder : Path
        The folder of both files.

    Returns
    -------
    str
        SHA-256, hexadecimal.
    """
    files = (folder / "requirements.txt", folder / "constraints.txt")
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()


# Building


def build(environment: Path, folders: Sequence[Path]) -> None:
    """Create or update the private environment, unless somebody else made it.

    Parameters
    ----------
    environment : Path
        The private environment. Its lock file lies beside it.
    folders : sequence of Path
        Folders with requirements.txt and constraints.txt.

    Raises
    ------
    EnvironmentFailure
        If the folder is somebody else's, or the environment cannot be built.
    """
    lock = environment.with_name(environment.name + ".lock")
    if os.path.lexists(environment) and not lock.exists():
        raise EnvironmentFailure(
            f"{environment} was not made by this script; move it away, or set MIREX_PYTHON to an interpreter "
            f"that has all packages ({environment}/bin/python, if it has)"
        )
    try:
        with open(lock, "a") as file:
            _wait_for(lock, file.fileno())
            # Programs started from here hold the lock too, since they keep working if this one is killed.
            os.set_inheritable(file.fileno(), True)
            if not is_whole(environment, folders):  # another run may have built it meanwhile
                install(environment, folders)
    except OSError as error:
        raise EnvironmentFailure(
            f"the private environment {environment} cannot be created: {error.strerror or error}; "
            f"{_if_full(environment)}set MIREX_PYTHON to an interpreter that has the packages"
        ) from error


def _wait_for(lock: Path, descriptor: int) -> None:
    """Take the lock; on file systems without locks continue, with a warning."""
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another run to set up the environment")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        say(
            f"warning: {lock} cannot be locked ({error.strerror}); do not start another run until the "
            "environment is ready"
        )


def install(environment: Path, folders: Sequence[Path]) -> None:
    """Install all packages and stamp the environment.

    A complete environment of the right Python that only needs other versions is updated; any other is created
    from scratch.

    Parameters
    ----------
    environment : Path
        The private environment.
    folders : sequence of Path
        Folders with requirements.txt and constraints.txt.

    Raises
    ------
    EnvironmentFailure
        If pip fails, or packages are still missing afterwards.
    """
    say(f"setting up {environment} (only once; takes a few minutes)")
    stamps = [stamp(environment, folder) for folder in folders]
    updatable = _is_updatable(environment, folders)
    for path in stamps:
        path.unlink(missing_ok=True)
    if not updatable:
        create(environment)
    _install_packages(environment, folders)
    found = report(environment, folders)
    if found is None or found[1]:
        lacking = ", ".join(found[1]) if found else "a Python that starts"
        raise EnvironmentFailure(
            f"pip reported no error, but {environment} lacks {lacking}; remove that folder and run the same "
            "command again, or set MIREX_PYTHON to an interpreter that has the packages"
        )
    for path, folder in zip(stamps, folders, strict=True):
        path.write_text(f"{pins_hash(folder)}\n{found[0]}\n", "utf-8")
    say(f"{environment} is ready")


def _is_updatable(environment: Path, folders: Sequence[Path]) -> bool:
    """Whether it was complete once, and still has the Python that it was made with."""
    noted = [note for folder in folders if (note := _read_stamp(environment, folder))]
    found = report(environment, folders) if noted else None
    return found is not None and all(note[1] in ("", found[0]) for note in noted)


def create(environment: Path) -> None:
    """Create an empty environment with pip; what an interrupted installation left is cleared.

    Parameters
    ----------
    environment : Path
        The folder to create or to clear.

    Raises
    ------
    EnvironmentFailure
        If this interpreter cannot make environments.
    """
    command = [sys.executable, "-I", "-m", "venv", "--clear", "--symlinks", str(environment)]
    status, output = _run(command, _clean_environment(), keep=True)
    if status:
        why = " ".join(output.split())[-200:]
        raise EnvironmentFailure(
            f"{sys.executable} cannot create environments (on Debian: apt install python3-venv); "
            f"{_if_full(environment)}or set MIREX_PYTHON to another interpreter ({why})"
        )


def _install_packages(environment: Path, folders: Sequence[Path]) -> None:
    python, scratch = str(environment / "bin" / "python"), environment / "tmp"
    files = [argument for folder in folders for argument in _pip_arguments(folder)]
    # Not /tmp, which may be small; and the next run clears what an interrupted one leaves here.
    scratch.mkdir(exist_ok=True)
    variables = {**pip_environment(python), "TMPDIR": str(scratch)}
    status, _ = _run([python, "-I", "-m", "pip", "install", "-qq", *files], variables, keep=False)
    if status:
        raise EnvironmentFailure(
            f"installing the packages failed (see pip's messages above); {_if_full(environment)}fix the "
            "cause and run the same command again, or set MIREX_PYTHON to an interpreter that has the "
            "packages"
        )
    shutil.rmtree(scratch, ignore_errors=True)


def _pip_arguments(folder: Path) -> list[str]:
    return ["-r", str(folder / "requirements.txt"), "-c", str(folder / "constraints.txt")]


def pip_environment(python: str) -> dict[str, str]:
    """Variables for pip: the user's, but of pip's settings only those of `PIP_SETTINGS`.

    Settings come from variables and from configuration files, which pip itself finds and reads. A variable
    cannot override a file's `target` or `prefix`; so pip is kept from reading the files again.

    Parameters
    ----------
    python : str
        Interpreter of the environment whose pip is to run.

    Returns
    -------
    dict of str to str
        All variables of the process.
    """
    variables = _clean_environment()
    found = {key: value for key, value in _pip_configuration(python) if key in PIP_SETTINGS}
    variables |= {_pip_variable(key): value for key, value in found.items()}
    names = map(_pip_variable, PIP_SETTINGS)
    variables |= {name: os.environ[name] for name in names if os.environ.get(name)}
    fixed = {"CONFIG_FILE": os.devnull, "USER": "0", "NO_INPUT": "1", "DISABLE_PIP_VERSION_CHECK": "1"}
    return variables | {f"PIP_{name}": value for name, value in fixed.items()}


def _pip_configuration(python: str) -> Iterator[tuple[str, str]]:
    """(key, value) of pip's configuration files, as `pip config list` prints them; later ones override."""
    variables = _clean_environment()
    if "PIP_CONFIG_FILE" in os.environ:
        variables["PIP_CONFIG_FILE"] = os.environ["PIP_CONFIG_FILE"]
    command = [python, "-I", "-m", "pip", "config", "list"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env=variables)
    lines = os.fsdecode(done.stdout).splitlines()
    for section in ("global", "install"):
        for line in lines:
            name, _, value = line.partition("=")
            if name.startswith(f"{section}."):
                with contextlib.suppress(ValueError, SyntaxError):
                    yield name.removeprefix(f"{section}."), str(ast.literal_eval(value))


def _pip_variable(key: str) -> str:
    return "PIP_" + key.upper().replace("-", "_")


def _clean_environment() -> dict[str, str]:
    """The variables without those that control Python or pip; with a home folder, which both need."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_"))}
    if not os.path.isabs(os.path.expanduser("~")):
        variables["HOME"] = str(FOLDER)
        variables["PIP_NO_CACHE_DIR"] = "1"
    return variables


def _run(command: Sequence[str], variables: dict[str, str], *, keep: bool) -> tuple[int, str]:
    """Run a program in a session of its own; (exit status, output if kept, otherwise shown).

    So Ctrl-C reaches only this process, which then ends the program and its children silently.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if keep else sys.stderr.fileno(),
        stderr=subprocess.STDOUT if keep else None,
        env=variables,
        close_fds=False,  # for the lock; nothing else is inheritable
        start_new_session=True,
        text=True,
        errors="replace",
    )
    try:
        output, _ = process.communicate()
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    return process.returncode, output or ""


def _if_full(environment: Path) -> str:
    """A hint for an error message if the disk is full."""
    place = environment if environment.exists() else environment.parent
    try:
        free = shutil.disk_usage(place).free
    except OSError:
        return ""
    return f"the disk has only {free >> 20} MB free: free some space; " if free < _FULL else ""


@contextlib.contextmanager
def _termination() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the setup as Ctrl-C does, with the programs that it started."""

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    before = {}
    with contextlib.suppress(ValueError):  # not in the main thread: the caller's business
        before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def say(message: str) -> None:
    """Write one line to stderr.

    Parameters
    ----------
    message : str
        Without the leading "mirex: ".
    """
    print(f"mirex: {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
