"""The wheel: everything that an installed `mirex` needs, the weights included."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import mirex
from synthesis import song, write

ROOT = Path(mirex.__file__).parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked wheel, built from a copy of the checkout without reaching for anything."""
    folder = tmp_path_factory.mktemp("packaging")
    source = folder / "source"
    (source / "tests").mkdir(parents=True)
    files = ("setup.py", "README.md", "LICENSE", "tests/requirements.txt")
    for name in ("mirex", "weights", "tests/demo", *files):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "-w", str(folder), str(source)], check=True, stdin=subprocess.DEVNULL)
    (wheel,) = folder.glob("mirex-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "installed")
    return folder / "installed"


def test_the_wheel_holds_every_module_and_data_file(installed):
    for path in (ROOT / "mirex").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            assert (installed / path.relative_to(ROOT)).is_file(), path
    assert (installed / "mirex" / "shipped_weights" / "mirex.safetensors").is_file()
    assert (installed / "mirex" / "shipped_demo" / "egypt.ogg").is_file()
    info = installed / f"mirex-{mirex.__version__}.dist-info"
    assert "mirex = mirex.cli:main" in (info / "entry_points.txt").read_text()
    assert (info / "licenses" / "LICENSE").is_file()


def test_the_installed_package_does_the_same_as_the_checkout(installed, tmp_path):
    write(tmp_path / "one.wav", song(0, seconds=2))
    write(tmp_path / "two.wav", song(1, seconds=2))
    (tmp_path / "list.txt").write_text("one.wav\ntwo.wav\n")
    for name, place in (("installed", installed), ("checkout", ROOT)):
        arguments = ["list.txt", "list.txt", f"scratch {name}", f"{name}.txt"]
        subprocess.run(
            [sys.executable, "-P", "-m", "mirex", "query", *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(place)},
            check=True,
        )
    assert (tmp_path / "installed.txt").read_bytes() == (tmp_path / "checkout.txt").read_bytes()
