"""The scripts' environment: chosen if there is one, built whole or not at all."""

import errno
import fcntl
import importlib.metadata
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from made_wheel import make_wheel
from mirex.bootstrap import environment
from mirex.bootstrap.environment import (
    EnvironmentFailure,
    choose,
    is_met,
    is_whole,
    main,
    missing,
    requirements,
    version_key,
)

ROOT = Path(environment.__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A requirements folder whose one package pip finds in a local folder, and nowhere else."""
    folder = tmp_path / "needs"
    folder.mkdir()
    (folder / "requirements.txt").write_text("# one package\nmirex-test-package>=1.0  # made here\n")
    (folder / "constraints.txt").write_text("mirex-test-package==1.0\n")
    make_wheel(tmp_path / "wheels")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    return folder


def has_package(python: str) -> bool:
    command = [python, "-c", "import mirex_test_package"]
    return subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0


def test_is_met():
    assert is_met("numpy>=1.26")
    assert is_met("essentia>=2.1b6.dev1110")
    assert is_met("numpy")
    assert not is_met("numpy>=1000.0")
    assert not is_met("no-such-package>=0")


@pytest.mark.parametrize(
    ("installed", "lowest", "met"),
    [
        ("2.1b6.dev1389", "2.1b6.dev1110", True),
        ("2.1b5", "2.1b6.dev1110", False),
        ("2.1b6.dev1109", "2.1b6.dev1110", False),
        ("2.1", "2.1b6.dev1110", True),
        ("2.13.0+cpu", "2.13", True),
        ("2.14.0rc1", "2.13.0", True),
        ("2.0rc1", "2.0", False),
        ("1.10", "1.9", True),
        ("1!0.1", "2.0", True),
        ("garbage", "1.0", False),
    ],
)
def test_is_met_compares_as_packaging_does(installed, lowest, met, tmp_path):
    info = tmp_path / "a_package-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: a-package\nVersion: {installed}\n")
    assert is_met(f"a-package>={lowest}", path=[str(tmp_path)]) == met


def test_what_a_removal_left_is_not_installed(tmp_path):
    (tmp_path / "a_package-1.dist-info").mkdir()
    assert not is_met("a-package>=0", path=[str(tmp_path)])


versions = st.builds(
    "{}{}{}{}{}".format,
    st.sampled_from(["", "", "v", "1!"]),
    st.lists(st.integers(0, 3), min_size=1, max_size=3).map(lambda parts: ".".join(map(str, parts))),
    st.sampled_from(["", "a1", "b", ".beta2", "rc1", "-preview-3", "C2"]),
    st.sampled_from(["", ".post1", "-2", "rev3", ".post"]),
    st.sampled_from(["", ".dev1", "dev", "-dev_2"]),
)


@settings(deadline=None, max_examples=500, derandomize=True)
@given(versions, versions)
def test_versions_are_ordered_as_packaging_orders_them(one, other):
    assert (version_key(one) < version_key(other)) == (Version(one) < Version(other))
    assert (version_key(one) == version_key(other)) == (Version(one) == Version(other))


@pytest.mark.parametrize("text", ["", "one", "1.0-", "1..0", "1.0x"])
def test_what_is_no_version(text):
    with pytest.raises(ValueError, match="not a version"):
        version_key(text)


def test_the_files_of_this_checkout_fit_together():
    for folder in (environment.FOLDER, ROOT / "tests"):
        pinned = {line.partition("==")[0].lower() for line in requirements(folder / "constraints.txt")}
        needed = {line.partition(">=")[0].lower() for line in requirements(folder / "requirements.txt")}
        assert needed <= pinned
        assert missing([folder]) == [], "the tests run in an environment that has everything"
    assert "torch==2.13.0" in requirements(environment.FOLDER / "constraints.txt")


def test_every_package_that_is_installed_is_pinned():
    """Requirements of requirements too: what an environment holds does not depend on the day."""
    pinned: set[str] = set()
    for folder in (environment.FOLDER, ROOT / "tests"):
        lines = requirements(folder / "constraints.txt")
        pinned |= {canonicalize_name(line.partition("==")[0]) for line in lines}
        todo = [Requirement(line) for line in requirements(folder / "requirements.txt")]
        seen = set()
        while todo:
            needed = todo.pop()
            key = canonicalize_name(needed.name), frozenset(needed.extras)
            if key in seen:
                continue
            seen.add(key)
            assert key[0] in pinned, f"{needed.name} has no pin in {folder / 'constraints.txt'}"
            for line in importlib.metadata.requires(needed.name) or []:
                requirement = Requirement(line)
                extras = needed.extras or {""}
                if requirement.marker is None or any(
                    requirement.marker.evaluate({"extra": e}) for e in extras
                ):
                    todo.append(requirement)


def test_an_interpreter_that_has_everything_is_used_as_it_is(folder, tmp_path):
    (folder / "requirements.txt").write_text("numpy>=1.26\n")
    assert choose(tmp_path / ".venv", [folder], prefer_this=False) == sys.executable
    assert not (tmp_path / ".venv").exists()


def test_built_on_first_use_and_updated_when_pins_change(folder, tmp_path, monkeypatch, capfd):
    private = tmp_path / ".venv"
    with monkeypatch.context() as patch:
        patch.setattr(environment, "create", make_environment_whose_pip_fails)
        with pytest.raises(EnvironmentFailure, match="installing the packages failed"):
            choose(private, [folder], prefer_this=False)
    assert not is_whole(private, [folder])

    python = choose(private, [folder], prefer_this=False)
    assert python == str(private / "bin" / "python")
    assert has_package(python)
    assert not (private / "left").exists(), "what a failed installation left is cleared"

    capfd.readouterr()
    assert choose(private, [folder], prefer_this=False) == python
    assert capfd.readouterr().err == "", "nothing to do"

    (private / "kept").touch()
    (folder / "constraints.txt").write_text("mirex-test-package==1.0  # looked at again\n")
    assert choose(private, [folder], prefer_this=False) == python
    assert "setting up" in capfd.readouterr().err
    assert (private / "kept").exists(), "a whole environment is updated, not made again"


def make_environment_whose_pip_fails(private: Path) -> None:
    (private / "bin").mkdir(parents=True)
    (private / "left").touch()
    (private / "bin" / "python").write_text("#!/bin/sh\nexit 1\n")
    (private / "bin" / "python").chmod(0o755)


def test_two_first_uses_at_once_build_once(folder, tmp_path, monkeypatch):
    built = []

    def install(private: Path, folders: list[Path]) -> None:
        built.append(private)
        fake(private, folders)

    monkeypatch.setattr(environment, "install", install)
    threads = [
        threading.Thread(target=choose, args=(tmp_path / ".venv", [folder]), kwargs={"prefer_this": False})
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1


def fake(private: Path, folders: list[Path], *, told: str | None = None) -> None:
    """An environment that is whole as far as its stamps and its Python say."""
    told = told or environment.identity()
    (private / "bin").mkdir(parents=True)
    python = private / "bin" / "python"
    python.write_text(f"#!/bin/sh\necho '{json.dumps([told, []])}'\n")
    python.chmod(0o755)
    for each in folders:
        environment.stamp(private, each).write_text(f"{environment.pins_hash(each)}\n{told}\n")


def test_a_whole_private_environment_comes_first_but_for_mirex_python(folder, tmp_path, capfd):
    fake(tmp_path / ".venv", [folder])
    private = str(tmp_path / ".venv" / "bin" / "python")
    (folder / "requirements.txt").write_text("numpy>=1.26\n")
    environment.stamp(tmp_path / ".venv", folder).write_text(
        f"{environment.pins_hash(folder)}\n{environment.identity()}\n"
    )
    assert choose(tmp_path / ".venv", [folder], prefer_this=False) == private
    assert choose(tmp_path / ".venv", [folder], prefer_this=True) == sys.executable
    assert capfd.readouterr().err == ""


def test_a_mirex_python_that_lacks_packages_is_said(folder, tmp_path, capfd):
    fake(tmp_path / ".venv", [folder])
    private = str(tmp_path / ".venv" / "bin" / "python")
    assert choose(tmp_path / ".venv", [folder], prefer_this=True) == private
    error = capfd.readouterr().err
    assert f"warning: MIREX_PYTHON={sys.executable} lacks mirex-test-package>=1.0" in error
    assert error.count("\n") == 1


def test_an_environment_is_whole_only_if_its_python_says_so(folder, tmp_path):
    private = tmp_path / ".venv"
    fake(private, [folder])
    assert is_whole(private, [folder])
    python = private / "bin" / "python"
    good = python.read_text()
    for text in (
        "#!/bin/sh\nexit 127\n",
        "#!/no/such/interpreter\n",
        "#!/bin/sh\necho hello\n",
        good.replace("[]", '["numpy>=1.26"]'),
        good.replace("cpython", "otherpython"),
    ):
        python.write_text(text)
        assert not is_whole(private, [folder]), text
    python.unlink()
    assert not is_whole(private, [folder])
    python.symlink_to("/no/such/python")
    assert not is_whole(private, [folder])


def test_an_environment_whose_python_vanished_is_built_again(folder, tmp_path, capfd):
    private = tmp_path / ".venv"
    fake(private, [folder])
    (private / "left").touch()
    (tmp_path / ".venv.lock").touch()
    (private / "bin" / "python").unlink()
    (private / "bin" / "python").symlink_to("/no/such/python")
    assert has_package(choose(private, [folder], prefer_this=False))
    assert not (private / "left").exists()
    assert is_whole(private, [folder])


@pytest.mark.parametrize("place", ["variables", "named.conf", ".config/pip/pip.conf"])
def test_settings_of_pip_that_put_packages_elsewhere_do_not_hold(place, folder, tmp_path, monkeypatch):
    """Those that say where packages come from do: without them there would be no package here."""
    elsewhere = tmp_path / "elsewhere"
    settings = {
        "user": "true", "target": str(elsewhere), "prefix": str(elsewhere), "root": str(elsewhere),
        "dry-run": "true", "no-deps": "true", "require-hashes": "true", "ignore-installed": "true",
        "report": str(elsewhere), "python": "/bin/false", "quiet": "3", "constraint": "/no/such/file",
    }  # fmt: skip
    if place == "variables":
        for key, value in settings.items():
            monkeypatch.setenv("PIP_" + key.upper().replace("-", "_"), value)
    else:
        source = {"no-index": "true", "find-links": str(tmp_path / "wheels")}
        lines = [f"{key} = {value}" for key, value in {**source, **settings}.items() if key != "python"]
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text("\n".join(["[install]", *lines]))
        for key in source:
            monkeypatch.delenv("PIP_" + key.upper().replace("-", "_"))
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
        if place == "named.conf":
            monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / place))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHONHOME", str(tmp_path))
    python = choose(tmp_path / ".venv", [folder], prefer_this=False)
    monkeypatch.delenv("PYTHONPATH")
    monkeypatch.delenv("PYTHONHOME")
    assert has_package(python)
    assert not elsewhere.exists()


def test_no_stamp_without_the_packages(folder, tmp_path, monkeypatch):
    """Whatever pip says: the environment's own Python must report them."""
    monkeypatch.setattr(environment, "_install_packages", lambda private, folders: None)
    with pytest.raises(EnvironmentFailure, match="no error, but .* lacks mirex-test-package>=1.0"):
        choose(tmp_path / ".venv", [folder], prefer_this=False)
    assert not environment.stamp(tmp_path / ".venv", folder).exists()


def test_where_locks_do_not_work_it_goes_on_with_a_warning(folder, tmp_path, monkeypatch, capfd):
    def fail(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(environment.fcntl, "flock", fail)
    monkeypatch.setattr(environment, "install", fake)
    assert choose(tmp_path / ".venv", [folder], prefer_this=False).startswith(str(tmp_path))
    assert "cannot be locked (No locks available)" in capfd.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_set_up_is_one_line_and_leaves_no_process(number, folder, tmp_path):
    """As Ctrl-C in a terminal, which goes to the whole group: pip must add no traceback of its own."""
    needs = tmp_path / "checkout" / "a" / "needs"  # the environment lies two folders above
    shutil.copytree(folder, needs)
    private = tmp_path / "checkout" / ".venv"
    (tmp_path / "python").write_text(
        "#!/bin/sh\ntrap 'echo Traceback >&2; exit 1' INT TERM\n"
        # Short sleeps: a signal that arrives between fork and exec is acted on after the next of them.
        f"case $* in *install*) touch '{private}/started'; n=0; "
        "while [ $n -lt 600 ]; do sleep 0.1; n=$((n + 1)); done; echo survived >&2;; esac\n"
    )
    (tmp_path / "python").chmod(0o755)
    program = (
        "import pathlib, shutil, sys\n"
        "from mirex.bootstrap import environment\n"
        "def create(private):\n"
        "    (private / 'bin').mkdir(parents=True)\n"
        f"    shutil.copy({str(tmp_path / 'python')!r}, private / 'bin')\n"
        "environment.create = create\n"
        f"environment.FOLDER = pathlib.Path({str(needs)!r})\n"
        "sys.exit(environment.main([]))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        start_new_session=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    while not (private / "started").exists() and process.poll() is None:
        time.sleep(0.02)
    os.killpg(process.pid, number)
    output, error = process.communicate(timeout=20)
    assert process.returncode == 1
    assert output == ""
    assert error.splitlines()[1:] == [
        "mirex: error: interrupted; run the same command again to finish the setup"
    ]
    with open(private.with_name(".venv.lock")) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # no process that holds it is left


def test_somebody_elses_environment_is_left_alone(folder, tmp_path):
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "theirs").touch()
    with pytest.raises(EnvironmentFailure, match="was not made by this script"):
        choose(tmp_path / ".venv", [folder], prefer_this=False)
    assert (tmp_path / ".venv" / "theirs").exists()


def test_a_place_that_cannot_be_written(folder, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentFailure, match="cannot be created"):
        choose(tmp_path / "file" / ".venv", [folder], prefer_this=False)


def test_main_prints_the_interpreter_alone(monkeypatch, capsys):
    monkeypatch.setenv("MIREX_PYTHON", sys.executable)
    assert main([str(ROOT / "tests")]) == 0
    assert capsys.readouterr().out == f"{sys.executable}\n"
