"""Where recordings begin in a file is found piece by piece as in the whole."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirex.features import containers
from mirex.features.containers import Window

PATTERN = re.compile(rb"ab[ab]a")


@given(
    data=st.lists(st.sampled_from([b"a", b"b", b"c"]), max_size=80).map(b"".join), after=st.integers(0, 90)
)
def test_a_pattern_is_found_wherever_pieces_end(tmp_path_factory, data, after):
    path = tmp_path_factory.mktemp("pattern") / "a"
    path.write_bytes(b"aba" + data + b"ba")
    with open(path, "rb") as file, pytest.MonkeyPatch.context() as patch:
        patch.setattr(containers, "_PIECE", 16)
        source = Window(file, 3, 3 + len(data))
        found = [match.start() for match in PATTERN.finditer(data)]
        assert containers._found(source, PATTERN) == found
        following = PATTERN.search(data, after + 1)
        assert containers.find(source, PATTERN, after=after) == (following and following.start())
