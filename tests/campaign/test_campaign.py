"""A share of the campaign, small enough for every run of the tests."""

from pathlib import Path

import pytest

from campaign.faults import try_faults
from campaign.files import try_files
from campaign.kills import try_kills, try_set_ups
from campaign.outcome import Outcome
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
