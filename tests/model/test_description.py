"""What sealed weights say of themselves: `mirex weights`."""

import json

import pytest
import torch

from mirex.cli import main
from mirex.errors import WeightsError
from mirex.model import description, weights
from mirex.settings import FrontEndSettings, NetworkSettings

FIRST = {
    "recipe": {"loop": {"seed": 1, "rate": 0.1}, "old": True},
    "steps": 10,
    "samples": 1000,
    "works": 7,
    "started_from": None,
}
TRAINING = {
    "data": ["scores", "chroma"],
    "history": [{"recipe": {"loop": {"seed": 2, "rate": 0.1}}, "until_step": 5}],
    "recipe": {"loop": {"seed": 2, "rate": 0.5}},
    "steps": 20,
    "samples": 2500,
    "works": 9,
    "start_share": 0.25,
    "started_from": {"fingerprint": "f" * 16, "training": FIRST},
    "whitening": {"recordings": 3, "power": -0.35},
}
METADATA = {
    "content_sha256": "a" * 64,
    "date": "2026-01-02",
    "licence": "a licence",
    "network": NetworkSettings().to_json(),
    "training": json.dumps(TRAINING),
    "results": json.dumps({"demo": {"mirex": {"map": 0.98765}, "Qmax": {"map": 1.0}}}),
}


def test_what_they_are_stands_in_few_lines():
    lines = description.describe(METADATA).splitlines()
    assert lines[0] == f"weights {'a' * 16}, date 2026-01-02"
    assert "licence: a licence" in lines
    assert any("3,500 samples in 2 runs" in line and "the last 20 steps" in line for line in lines)
    assert [line for line in lines if line.startswith("trained on: ")] == [
        "trained on: scores",
        "trained on: chroma",
    ]
    assert any(line.startswith("network: ") and "window_steps 512" in line for line in lines)
    assert "whitening: recordings 3, power -0.35" in lines
    assert "calibration: none" in lines
    assert lines[-2:] == ["  demo / mirex: map 0.9877", "  demo / Qmax: map 1"]


def test_history_goes_from_the_first_run_to_the_last_and_names_changes():
    assert description.history(METADATA).splitlines() == [
        f"run 1: from scratch to {'f' * 16}, 10 steps, 1,000 samples, 7 works",
        "  to step 10:",
        "    loop.rate = 0.1",
        "    loop.seed = 1",
        "    old = true",
        f"run 2: from {'f' * 16}, of which 25 % is mixed into the result, to {'a' * 16}, 20 steps, "
        "2,500 samples, 9 works",
        "  to step 5:",
        "    loop.seed = 2 (before: 1)",
        "    old removed (before: true)",
        "  to step 20:",
        "    loop.rate = 0.5 (before: 0.1)",
    ]


def test_weights_that_say_nothing_of_training():
    silent = {"content_sha256": "a" * 64}
    assert description.runs(silent) == []
    assert "do not describe" in description.history(silent)
    assert "trained: unknown" in description.describe(silent)


@pytest.mark.parametrize(
    "training",
    ["no JSON", "[1]", '{"recipe": {}}', '{"recipe": 1, "steps": 2}', '{"recipe": {}, "started_from": 5}'],
)
def test_metadata_that_cannot_be_read_are_an_error(training):
    with pytest.raises(WeightsError):
        description.history(METADATA | {"training": training})


@pytest.mark.parametrize("option", [[], ["--history"], ["--json"]])
def test_the_command_prints_it(option, tmp_path, capsys):
    path = tmp_path / "some.safetensors"
    given = {name: METADATA[name] for name in ("training", "results", "date", "licence")}
    few = {"a tensor": torch.zeros(2)}
    weights.save(few, front_end=FrontEndSettings(), settings=NetworkSettings(), metadata=given, path=path)
    assert main(["weights", *option, str(path)]) == 0
    printed = capsys.readouterr().out
    if option == ["--json"]:
        assert json.loads(printed)["training"] == TRAINING
        assert json.loads(printed)["network"]["window_steps"] == 512
    else:
        found = weights.read_metadata(path)
        text = description.history(found) if option else description.describe(found)
        assert printed == text + "\n"
        assert f"to {'f' * 16}" in printed or not option


def test_no_weights_file_is_an_error(tmp_path, capsys):
    assert main(["weights", str(tmp_path / "none.safetensors")]) == 1
    assert "no such weights file" in capsys.readouterr().err
