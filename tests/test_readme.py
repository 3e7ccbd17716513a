"""The README's Python example runs, and its command lines name commands and files that exist."""

import re
from pathlib import Path

import pytest

from mirex.cli import COMMANDS
from mirex.model import weights

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.skipif(not weights.default_path().is_file(), reason="weights/mirex.safetensors is not there yet")
def test_the_python_example_runs(tmp_path, monkeypatch, capsys):
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(example, "README.md", "exec"), {})
    assert "is nearest to" in capsys.readouterr().out
    assert (tmp_path / "matrix.txt").is_file()


def test_commands_and_files_exist():
    commands = set(re.findall(r"(?:`|^    |&& )mirex ([a-z]+(?:-[a-z]+)?)\b", README, re.MULTILINE))
    assert len(commands) >= 10
    assert commands <= set(COMMANDS)
    for path in re.findall(r"\]\(([\w./-]+)\)|(tests/benchmarks/\w+\.py)", README):
        assert (ROOT / "".join(path)).exists()
