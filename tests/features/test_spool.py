"""Samples in a file are those that were appended; the file has no name; a full disk is told of."""

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirex.features import spool as spools
from mirex.features.spool import NoRoom, Spool


@given(
    lengths=st.lists(st.integers(0, 50), max_size=8), in_memory=st.integers(0, 100), block=st.integers(1, 60)
)
def test_what_comes_back_is_what_was_appended(lengths, in_memory, block):
    samples = np.arange(sum(lengths), dtype=np.float32)
    spool = Spool(in_memory=in_memory)
    for part in np.split(samples, np.cumsum(lengths)):
        spool.append(part)
    assert len(spool) == len(samples)
    assert spool.is_in_memory == (len(samples) <= in_memory)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spools, "BLOCK", block)
        for _ in range(2):
            found = list(spool.blocks())
            assert np.array_equal(np.concatenate([np.empty(0, np.float32), *found]), samples)
            assert all(len(each) == block for each in found[:-1])
    assert np.array_equal(spool.array(), samples)


def test_all_in_memory_by_default():
    spool = Spool()
    spool.append(np.ones(3_000_000, np.float32))
    assert spool.is_in_memory


@given(lengths=st.lists(st.integers(0, 50), max_size=8), reserved=st.integers(1, 60))
def test_more_than_there_was_room_for(lengths, reserved):
    samples, spool = np.arange(sum(lengths), dtype=np.float32), Spool()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spools, "RESERVED", reserved)
        for part in np.split(samples, np.cumsum(lengths)):
            spool.append(part)
    assert np.array_equal(spool.array(), samples)


def test_room_that_is_not_used_takes_no_memory():
    """A second of sound touches a few pages of the room for 25 minutes, which are 134 MB."""
    many = [Spool() for _ in range(20)]
    before = resident()
    for spool in many:
        spool.append(np.ones(22_050, np.float32))
    assert resident() - before < 4 * spools.RESERVED
    assert sum(spool.array().nbytes for spool in many) == 20 * 4 * 22_050


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text("utf-8").split()[1]) * os.sysconf("SC_PAGESIZE")


@pytest.mark.parametrize("nameless", [True, False])
def test_the_file_has_no_name(tmp_path, monkeypatch, nameless):
    """Neither where the system can make such files nor where it cannot, so nothing outlives a killed run."""
    monkeypatch.setattr(tempfile, "_O_TMPFILE_WORKS", nameless)
    spool = Spool(in_memory=10, folder=tmp_path)
    spool.append(np.ones(1_000_000, np.float32))
    assert not spool.is_in_memory
    assert os.listdir(tmp_path) == []
    assert os.fstat(spool._file.fileno()).st_dev == tmp_path.stat().st_dev  # type: ignore[union-attr]


def test_a_folder_that_is_not_there(tmp_path):
    spool = Spool(in_memory=0, folder=tmp_path / "on another machine")
    spool.append(np.ones(5, np.float32))
    assert spool.array().tolist() == [1.0] * 5


def test_a_full_disk(tmp_path, full_disk):
    spool = Spool(in_memory=10, folder=tmp_path)
    with pytest.raises(NoRoom, match=rf"kept in {tmp_path}, .*no space left on device; free some space"):
        spool.append(np.ones(20, np.float32))


def test_no_folder_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(NoRoom, match="cannot be made: no such file or directory; set TMPDIR"):
        Spool(in_memory=0).append(np.ones(1, np.float32))
