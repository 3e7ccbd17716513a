"""The benchmark of bfloat16: it rounds what it says, and compares what it says."""

import numpy as np
import torch
from torch import nn

from benchmarks import bfloat16
from mirex.corpora.clips import Clip


def test_rounding_keeps_eight_significant_bits():
    x = torch.tensor([1 + 2**-7, 1 + 2**-9, -3.0])
    assert bfloat16.rounded(x).tolist() == [1 + 2**-7, 1.0, -3.0]


def test_weights_input_and_output_of_convolutions_are_rounded():
    network = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.Conv2d(4, 2, 1, bias=False))
    with torch.no_grad():
        kernels = [each.weight.bfloat16().float() for each in network if isinstance(each, nn.Conv2d)]
        x = torch.rand(1, 3, 8, 8)
        plain = network(x)
        bfloat16.round_convolutions(network)
        found, expected = network(x), x
        for kernel in kernels:
            expected = nn.functional.conv2d(expected.bfloat16().float(), kernel).bfloat16().float()
    torch.testing.assert_close(found, expected)
    assert 1e-5 < float((found - plain).abs().max()) < 0.1


def test_the_table_compares_distances_and_ranks():
    """Rounding moves the first recording from its version, the second, to the distractor."""
    plain = np.array([[1, 0], [0.8, 0.6], [0, 1]], np.float32)
    halves = np.array([[0, 1], [0.8, 0.6], [0, 1]], np.float32)
    clips = [
        Clip(name, work, np.zeros((84, 1), np.float32)) for name, work in (("a", "x"), ("b", "x"), ("c", "y"))
    ]
    found = bfloat16.table(plain, halves, clips=clips, paired=np.array([True, True, False]))
    assert "| pop, MAP / mean rank of the first version | 1.0000 / 1.00 | 1.0000 / 1.00 |" in found
    assert "| pop-among, MAP / mean rank of the first version | 1.0000 / 1.00 | 0.7500 / 1.50 |" in found
    assert "median 1.000000, least 0.000000" in found
    assert "largest change of a distance: 1.0000" in found
    assert "another one: 2 of 3" in found
