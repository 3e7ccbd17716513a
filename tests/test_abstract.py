"""The extended abstract compiles from its source, the results and the speed figures."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_the_abstract_compiles_on_two_to_four_pages(tmp_path):
    typst = pytest.importorskip("typst", reason="needs the extra docs")
    source = ROOT / "docs" / "abstract" / "abstract.typ"
    typst.compile(source, output=tmp_path / "{p}.png", root=ROOT, format="png", ppi=20)
    assert 2 <= len(list(tmp_path.glob("*.png"))) <= 4
