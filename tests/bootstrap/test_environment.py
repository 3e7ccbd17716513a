"""The scripts' environment: chosen if there is one, built whole or not at all."""

import base64
import hashlib
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from mirex.bootstrap import environment
from mirex.bootstrap.environment import (
    EnvironmentFailure,
    choose,
    is_met,
    is_whole,
    main,
    missing,
    requirements,
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


def make_wheel(folder: Path) -> None:
    folder.mkdir()
    info = "mirex_test_package-1.0.dist-info"
    files = {
        "mirex_test_package.py": "",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: mirex-test-package\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(folder / "mirex_test_package-1.0-py3-none-any.whl", "w") as wheel:
        record = ""
        for name, text in files.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            record += f"{name},sha256={digest},{len(text)}\n"
            wheel.writestr(name, text)
        wheel.writestr(f"{info}/RECORD", record + f"{info}/RECORD,,\n")


def has_package(python: str) -> bool:
    command = [python, "-c", "import mirex_test_package"]
    return subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0


def test_is_met():
    assert is_met("numpy>=1.26")
    assert is_met("essentia>=2.1b6.dev1110")
    assert not is_met("numpy>=1000.0")
    assert not is_met("no-such-package>=0")


def test_the_files_of_this_checkout_fit_together():
    for folder in (environment.FOLDER, ROOT / "tests"):
        pinned = {line.partition("==")[0].lower() for line in requirements(folder / "constraints.txt")}
        needed = {line.partition(">=")[0].lower() for line in requirements(folder / "requirements.txt")}
        assert needed <= pinned
        assert missing([folder]) == [], "the tests run in an environment that has everything"
    assert "torch==2.13.0" in requirements(environment.FOLDER / "constraints.txt")


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
        private.mkdir()
        for each in folders:
            environment.stamp(private, each).write_text(f"{environment.pins_hash(each)}\nPython")

    monkeypatch.setattr(environment, "install", install)
    monkeypatch.setattr(environment, "python_of", lambda _: "Python")
    threads = [
        threading.Thread(target=choose, args=(tmp_path / ".venv", [folder]), kwargs={"prefer_this": False})
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1


def test_somebody_elses_environment_is_left_alone(folder, tmp_path):
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "theirs").touch()
    with pytest.raises(EnvironmentFailure, match="was not made by this script"):
        choose(tmp_path / ".venv", [folder], prefer_this=False)
    assert (tmp_path / ".venv" / "theirs").exists()


def test_a_place_that_cannot_be_written(folder, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentFailure, match="cannot be made"):
        choose(tmp_path / "file" / ".venv", [folder], prefer_this=False)


def test_main_prints_the_interpreter_alone(monkeypatch, capsys):
    monkeypatch.setenv("MIREX_PYTHON", sys.executable)
    assert main([str(ROOT / "tests")]) == 0
    assert capsys.readouterr().out == f"{sys.executable}\n"


@pytest.mark.parametrize(
    "rising",
    [
        ["2.1.dev3", "2.1a1", "2.1b6.dev2", "2.1b6.dev1389", "2.1b6", "2.1rc1"],
        ["2.1.dev3", "2.1", "2.1.post1", "2.1.1", "2.10"],
        ["1.9", "1.10", "1!0.1"],
    ],
)
def test_versions_sort_as_pep_440_says(rising):
    packaging = pytest.importorskip("packaging.version")
    keys = [environment.version_key(version) for version in rising]
    assert keys == sorted(keys)
    assert len(set(keys)) == len(keys)
    assert rising == sorted(rising, key=packaging.Version)
    assert environment.version_key("2.1.0") == environment.version_key("2.1+cpu")


def test_pip_is_not_sent_elsewhere_by_the_users_settings(folder, tmp_path, monkeypatch):
    elsewhere = {"PIP_TARGET": "t", "PIP_PREFIX": "p", "PIP_ROOT": "r", "PIP_DRY_RUN": "1", "PIP_USER": "1"}
    for name, value in (elsewhere | {"PYTHONPATH": str(tmp_path / "foreign")}).items():
        monkeypatch.setenv(name, value)
    private = tmp_path / ".venv"
    python = choose(private, [folder], prefer_this=False)
    assert is_whole(private, [folder])
    assert environment._missing_in(private, [folder]) == ""
    assert python == str(private / "bin" / "python")


def test_an_environment_that_lacks_what_pip_says_it_installed_gets_no_stamp(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "_missing_in", lambda *_: "everything")
    with pytest.raises(EnvironmentFailure, match="lacks everything"):
        choose(tmp_path / ".venv", [folder], prefer_this=False)
    assert not is_whole(tmp_path / ".venv", [folder])


def test_an_environment_whose_base_python_is_gone_is_made_again(folder, tmp_path):
    private = tmp_path / ".venv"
    choose(private, [folder], prefer_this=False)
    python = private / "bin" / "python"
    python.unlink()
    python.symlink_to(tmp_path / "gone")
    assert environment.python_of(private) is None
    assert not is_whole(private, [folder])
    choose(private, [folder], prefer_this=False)
    assert is_whole(private, [folder])


def test_an_environment_of_another_python_is_not_trusted(folder, tmp_path):
    private = tmp_path / ".venv"
    choose(private, [folder], prefer_this=False)
    for path in private.glob("*.stamp"):
        path.write_text(path.read_text().replace("3.", "2.", 1))
    assert not is_whole(private, [folder])


def test_a_file_system_without_locks_is_warned_of(tmp_path, monkeypatch, capsys):
    def flock(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(environment.fcntl, "flock", flock)
    with open(tmp_path / "lock", "w") as file:
        environment._wait_for(file)
    assert "cannot be locked" in capsys.readouterr().err


def test_a_chosen_interpreter_that_lacks_a_package_is_said(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(environment, "build", lambda *_: None)
    choose(tmp_path / ".venv", [folder], prefer_this=True)
    assert "MIREX_PYTHON lacks" in capsys.readouterr().err


def test_a_chosen_interpreter_comes_before_a_whole_private_environment(folder, tmp_path):
    private = tmp_path / ".venv"
    choose(private, [folder], prefer_this=False)
    (folder / "requirements.txt").write_text("numpy>=1.26\n")
    for each in private.glob("*.stamp"):
        each.write_text(f"{environment.pins_hash(folder)}\n{environment.python_of(private)}")
    assert choose(private, [folder], prefer_this=False) == str(private / "bin" / "python")
    assert choose(private, [folder], prefer_this=True) == sys.executable


def test_ctrl_c_in_set_up_is_one_line(folder, tmp_path, monkeypatch, capsys):
    def interrupted(*_: object, **__: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(environment, "choose", interrupted)
    assert environment.main([]) == 1
    assert capsys.readouterr().err.count("\n") == 1
