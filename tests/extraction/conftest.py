"""Fixtures of the tests of extraction."""

from pathlib import Path

import pytest


@pytest.fixture
def files(tmp_path: Path):
    """Makes recordings of these names."""

    def make(*names: str) -> list[str]:
        for name in names:
            (tmp_path / name).write_text(name)
        return [str(tmp_path / name) for name in names]

    return make
