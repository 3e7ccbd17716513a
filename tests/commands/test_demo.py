"""`mirex demo` on the bundled recordings."""

from pathlib import Path

import pytest

from mirex.cli import main
from mirex.demo import demo_cliques, demo_folder, run_demo
from mirex.errors import StoreError
from mirex.formats.check import violations
from mirex.model import weights


@pytest.mark.skipif(not weights.default_path().is_file(), reason="weights/mirex.safetensors is not there yet")
def test_the_demo_makes_a_valid_matrix_and_a_page(tmp_path, capsys):
    assert main(["demo", str(tmp_path / "new" / "demo")]) == 0
    matrix, report = (line.split(": ")[1] for line in capsys.readouterr().out.splitlines())
    assert not list(violations(matrix))
    page = Path(report).read_text("utf-8")
    assert "10 recordings" in page
    assert "4 queries" in page or ">4<" in page


def test_variants_are_versions_of_one_work():
    cliques = demo_cliques([str(path) for path in demo_folder().glob("*.ogg")])
    assert len(cliques) == 10
    assert len(set(cliques.values())) == 8


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="name another"):
        run_demo(tmp_path / "file" / "demo")
