"""A share of the campaign, small enough for every run of the tests."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from campaign.faults import try_faults
from campaign.files import try_files
from campaign.kills import try_kills, try_set_ups
from campaign.outcome import Outcome
from campaign.readers import bounded, try_readers
from campaign.runs import ROOT, environment
from random_network import save_random


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save_random(path)
    return path


def test_damaged_files_are_embedded_or_reported(weights, tmp_path):
    outcome = Outcome()
    try_files(tmp_path / "all", weights=weights, count=180, seed=1, outcome=outcome)
    assert outcome.files > 180
    assert outcome.failed > 20
    assert outcome.findings == []


def test_hostile_lists_matrices_and_the_like_end_in_time_with_a_known_error(tmp_path):
    outcome = Outcome()
    try_readers(
        tmp_path / "all", count=80, seed=1, outcome=outcome,
        giant=lambda kind: not re.search(r"[GM]B|10\^7|0,000 (blank|short|names)", kind),
    )  # fmt: skip
    assert outcome.readings > 150
    assert outcome.findings == []


def test_a_reader_that_breaks_its_bounds_is_found(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"a")
    assert bounded(lambda path: None, path) == ""
    assert "MemoryError" in bounded(lambda path: bytearray(1 << 30), path)
    assert "KeyError" in bounded(lambda path: {}["a"], path)
    assert "crashed" in bounded(lambda path: os.kill(os.getpid(), signal.SIGKILL), path)


def test_a_campaign_that_is_stopped_gives_its_figures(tmp_path):
    words = [sys.executable, "-m", "campaign", "--readers", "10", "--files", "100", "--kills", "0"]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    process = subprocess.Popen(
        [*words, "--json", str(tmp_path / "figures.json"), "--folder", str(tmp_path / "all")],
        env={**environment(), "PYTHONPATH": paths}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    while "readers ..." not in (line := process.stderr.readline()):
        assert line, "it ended before it began"
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    figures, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert '"whole": false' in figures
    assert '"whole": false' in (tmp_path / "figures.json").read_text("utf-8")


def test_killed_runs_go_on_to_the_same_bytes(weights, tmp_path):
    outcome = Outcome()
    try_kills(tmp_path / "all", weights=weights, count=5, seed=1, outcome=outcome)
    assert outcome.kills == 5
    assert outcome.findings == []


def test_a_killed_set_up_is_made_whole_by_the_next(tmp_path):
    outcome = Outcome()
    try_set_ups(tmp_path / "all", count=1, seed=1, outcome=outcome)
    assert outcome.kills == 1
    assert outcome.findings == []


def test_faults_of_the_machine_end_in_a_clear_error_or_the_same_bytes(weights, tmp_path):
    outcome = Outcome()
    try_faults(tmp_path / "all", weights=weights, seed=1, outcome=outcome)
    assert outcome.faults == 7
    assert outcome.findings == []
