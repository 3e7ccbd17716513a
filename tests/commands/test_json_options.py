"""The JSON files that `mirex seal` and `mirex whiten` put into weights: a wrong one is named, not sealed."""

import json

import pytest

from mirex.cli import main
from sealed_metadata import CALIBRATION

OTHER = ("gone.json", None), ("text.json", "not JSON"), ("list.json", "[1, 2]")


@pytest.mark.parametrize("command", [["seal"], ["whiten", "--recordings", "none.npz"]])
@pytest.mark.parametrize(
    ("option", "name", "content"),
    [
        *[(option, *each) for option in ("--results", "--calibration") for each in OTHER],
        ("--calibration", "other.json", '{"slope": 3}'),
        ("--calibration", "flat.json", json.dumps(json.loads(CALIBRATION.to_json()) | {"below": 0})),
    ],
)
def test_a_wrong_file_is_named(command, option, name, content, tmp_path, capsys):
    if content is not None:
        (tmp_path / name).write_text(content)
    command, more = command[:1], command[1:]
    files = [str(tmp_path / each) for each in ("input", "output")]
    assert main([*command, *files, *more, option, str(tmp_path / name)]) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"mirex: error: {tmp_path / name}: ")
    assert not (tmp_path / "output").exists()
