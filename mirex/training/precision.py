"""Half precision where the hardware has it.

Training needs no more than bfloat16 for convolutions and products. A GPU is several times as fast with it. So
is a CPU that has instructions for it; on one that has none, PyTorch emulates them, twenty times slower than
float32.
"""

from contextlib import AbstractContextManager
from typing import Any

import torch

CPU_FEATURES = ("avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16")


def half_precision(device: str) -> AbstractContextManager[None]:
    """Compute convolutions and products in bfloat16 if the device has instructions for it.

    Parameters
    ----------
    device : str
        As PyTorch names it.

    Returns
    -------
    context manager
        Holds within its block.
    """
    enabled = device != "cpu" or _on_this_cpu()
    return torch.autocast(device_type=device, dtype=torch.bfloat16, enabled=enabled)


def _on_this_cpu() -> bool:
    # Older versions lack it.
    found: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(found.get(feature, False) for feature in CPU_FEATURES)
