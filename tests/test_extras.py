"""What to do about a missing optional package: the advice installs this package's extra, where mirex runs."""

import shlex
import sys
from pathlib import Path

import pytest

from mirex import extras
from mirex.errors import MirexError

ROOT = Path(__file__).resolve().parents[1]


def test_the_advice_names_the_running_python_and_the_checkout():
    (_, command) = extras.how_to_install("fast").split(": ", 1)
    assert shlex.split(command) == [sys.executable, "-m", "pip", "install", f"{ROOT}[fast]"]


def test_an_installed_package_does_not_know_its_checkout(tmp_path, monkeypatch):
    monkeypatch.setattr(extras, "__file__", str(tmp_path / "site-packages" / "mirex" / "extras.py"))
    advice = extras.how_to_install("plots")
    assert "in a checkout of mirex" in advice
    assert shlex.split(advice)[-1] == ".[plots]"


def test_what_is_missing_is_named():
    with pytest.raises(MirexError, match=r"no_such_module: not installed; install it with: .*\[train\]"):
        extras.need(("json", "no_such_module"), extra="train")
    extras.need(("json",), extra="train")
