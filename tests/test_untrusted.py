"""Files from elsewhere end in one known error, whose message can be read."""

import zipfile

import numpy as np
import pytest

from mirex.untrusted import load_arrays


def _archive(path, header):
    """An archive with one array, under a header of these bytes."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("level.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)


def test_a_message_does_not_quote_a_whole_header(tmp_path):
    path = tmp_path / "noise.npz"
    _archive(path, 9000 * b"\x01")
    with pytest.raises(ValueError, match="header") as raised:
        load_arrays(path)
    assert len(str(raised.value)) < 250


def test_an_array_of_a_shape_that_its_data_do_not_fill(tmp_path):
    path = tmp_path / "huge.npz"
    _archive(path, b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }\n")
    with pytest.raises(ValueError):  # noqa: PT011
        load_arrays(path)


def test_an_archive_that_is_sound(tmp_path):
    np.savez(tmp_path / "sound.npz", a=np.arange(3), b=np.zeros((2, 2)))
    found = load_arrays(tmp_path / "sound.npz")
    assert found["a"].tolist() == [0, 1, 2]
    assert found["b"].shape == (2, 2)


def test_no_archive_at_all(tmp_path):
    (tmp_path / "text.npz").write_bytes(b"text")
    with pytest.raises(ValueError, match="damaged archive"):
        load_arrays(tmp_path / "text.npz")
