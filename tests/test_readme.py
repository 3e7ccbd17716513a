"""The README's Python example and commands run, on made recordings under the names that the README uses."""

import re
import shlex
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

from mirex.cli import COMMANDS, main
from mirex.model import weights
from random_network import save_random
from synthesis import song, write

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
# Named with what they are for; their own tests run them.
NAMES_ONLY = ("extract", "query", "train", "seal", "whiten", "calibrate", "patches", "corpus")
NOT_HERE = {
    "mirex export network.onnx": "needs the extra export",
    "mirex benchmark-accuracy covers80 --lists FOLDER --audio FOLDER": "needs a copy of covers80",
    "mirex extract --scheduler tcp://host:8786 scratch list.txt": "needs a cluster",
}
BARE = ("mirex demo", "mirex weights")  # commands that run without an argument
SMALL = {
    "train": "--steps 1 --embedding-size 256 --processes 2 --device cpu --lengths 16 --chroma-lengths 16",
    "scan": "--scratch scratch",
}


def commands() -> list[str]:
    """Every `mirex ...` with arguments, in a table or in a block, in the README's order."""
    found = re.findall(r"`(mirex [a-z][^`]*)`|^    (mirex [a-z].*)$", README, re.MULTILINE)
    lines = [re.sub(r"\s+#.*", "", inline or block).strip() for inline, block in found]
    return [line for line in dict.fromkeys(lines) if line.count(" ") > 1 or line in BARE]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with the files that the README's commands name."""
    monkeypatch.chdir(tmp_path)
    save_random(tmp_path / "random.safetensors")
    monkeypatch.setenv("MIREX_WEIGHTS", str(tmp_path / "random.safetensors"))
    names = ["query.wav", "a.wav", "b.wav", "c.wav"]
    for number, name in enumerate(names):
        write(tmp_path / name, song(number // 2, seconds=25, tempo=1 + 0.1 * number))
    write(tmp_path / "set.mp3", song(0, seconds=45))
    (tmp_path / "list.txt").write_text("".join(f"{name}\n" for name in names))
    (tmp_path / "cliques.tsv").write_text("query.wav\tone\na.wav\tone\nb.wav\ttwo\nc.wav\ttwo\n")
    (tmp_path / "weights").mkdir()
    shutil.copy(ROOT / "weights" / "results.json", tmp_path / "weights")
    (tmp_path / "works").mkdir()
    rows = ["work,path"]
    for work in range(16):
        for version in range(4):
            path = tmp_path / "works" / f"{work}-{version}.wav"
            write(path, song(work, seconds=3, transpose=version + work // 5))
            rows.append(f"{work},works/{path.name}")
    (tmp_path / "works.csv").write_text("\n".join(rows) + "\n")
    main(["query", "--device", "cpu", "list.txt", "list.txt", "scratch", "matrix.txt"])
    return tmp_path


def test_the_commands_run(folder, capsys):
    ran = []
    for line in commands():
        if line in NOT_HERE or ("--approximate" in line and not find_spec("faiss")):
            continue
        words = shlex.split(line)[1:]
        assert main([*words, *shlex.split(SMALL.get(words[0], ""))]) == 0, line
        ran.append(words[0])
    assert set(COMMANDS) - {*NAMES_ONLY, "export"} <= set(ran)
    assert {"train", "seal"} <= set(ran)
    assert (folder / "my.safetensors").is_file()


def test_what_is_not_run_stands_there():
    assert set(NOT_HERE) <= set(commands())


@pytest.mark.skipif(not weights.default_path().is_file(), reason="weights/mirex.safetensors is not there yet")
def test_the_python_example_runs(tmp_path, monkeypatch, capsys):
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(example, "README.md", "exec"), {})
    assert "is nearest to" in capsys.readouterr().out
    assert (tmp_path / "matrix.txt").is_file()


def test_commands_and_files_exist():
    named = set(re.findall(r"(?:`|^    |&& )mirex ([a-z]+(?:-[a-z]+)?)\b", README, re.MULTILINE))
    assert named == set(COMMANDS)
    for path in re.findall(r"\]\(([\w./-]+)\)|(tests/[\w/]+\.(?:py|sh))", README):
        assert (ROOT / "".join(path)).exists()


def test_paragraphs_after_the_first_90_lines_are_short():
    paragraphs = "\n".join(README.splitlines()[90:]).split("\n\n")
    prose = [each for each in paragraphs if not each.startswith(("|", "    ", "```", "<!--"))]
    assert max(each.count("\n") + 1 for each in prose) <= 6
