"""Licences of what is installed, read from the packages."""

import subprocess
import sys

from mirex.bootstrap import licences


def test_every_pinned_package_states_a_licence():
    command = [sys.executable, licences.__file__]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    found = {name: (version, text) for name, version, text in (line.split("\t") for line in lines)}
    assert set(found) == set(licences.pinned())
    assert "Affero" in found["essentia"][1] or "AGPL" in found["essentia"][1]
    assert all(text for version, text in found.values() if version != "not installed")


def test_a_package_that_is_not_there():
    assert licences.licence("no-such-package") == ("not installed", "")
