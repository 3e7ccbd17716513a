"""README and model card quote weights/results.json, and results.json is of the weights beside it."""

import json
import re
from pathlib import Path

import pytest

from mirex.benchmarks.results import Results
from mirex.model import weights

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "weights" / "results.json"
CARD = (ROOT / "weights" / "README.md").read_text("utf-8")


def test_the_card_has_the_table_of_the_results():
    (quoted,) = re.findall(r"<!-- results -->\n(.*?)\n<!-- results -->", CARD, re.DOTALL)
    assert quoted == Results.load(RESULTS).markdown()


@pytest.mark.skipif(not weights.default_path().is_file(), reason="weights/mirex.safetensors is not there yet")
def test_results_and_card_are_of_these_weights():
    fingerprint = weights.fingerprint(weights.read_metadata())
    tables = Results.load(RESULTS).content["tables"]
    assert tables
    for title, table in tables.items():
        assert table["systems"]["ours"]["settings"]["weights"] == fingerprint, title
    assert f"`{fingerprint}`" in CARD


@pytest.mark.skipif(not weights.default_path().is_file(), reason="weights/mirex.safetensors is not there yet")
def test_the_weights_hold_these_figures():
    metadata = weights.read_metadata()
    figures = Results.load(RESULTS).figures(weights=weights.fingerprint(metadata))
    assert json.loads(metadata["results"]) == figures


def test_the_card_is_short_and_its_lines_fit():
    lines = CARD.splitlines()
    assert len(lines) <= 120
    assert max(map(len, lines)) <= 160
    assert any("Intended use and limits" in line for line in lines[:20])


def test_figures_in_the_cards_text_are_in_the_results():
    near = Results.load(RESULTS).content["tables"]["pop-among"]["systems"]["ours"]["hubness"]
    pairs = near["unrelated_pairs"]  # each counts once from either side
    nearer = near["unrelated_pairs_nearer"]
    assert f"Of its {pairs // 2:,} pairs of unrelated recordings none is closer than 0.45" in " ".join(
        CARD.split()
    )
    assert nearer["0.45"] == 0
    rows = Results.load(RESULTS).content["robustness"]["systems"]["ours"]["rows"]
    assert "in all 26 degradations" in " ".join(CARD.split())
    assert [row["rank_1"] for row in rows] == [1.0] * 26
