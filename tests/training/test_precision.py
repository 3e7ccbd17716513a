"""Half precision: only where the hardware has it."""

import pytest
import torch

from mirex.training.precision import half_precision


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ({"avx2": True, "avx512_bf16": False}, torch.float32),
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"bf16": True}, torch.bfloat16),
    ],
)
def test_a_cpu_computes_in_half_precision_only_with_instructions_for_it(monkeypatch, features, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features, raising=False)
    x = torch.ones(2, 2)
    with half_precision("cpu"):
        assert (x @ x).dtype == expected


def test_a_pytorch_that_cannot_tell_computes_in_full_precision(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    x = torch.ones(2, 2)
    with half_precision("cpu"):
        assert (x @ x).dtype == torch.float32
