"""torchvision beside a CPU-only PyTorch.

The CUDA wheel of torchvision fails to import where its compiled operators cannot be loaded; declaring the schemas of the two it
registers by name is enough. Every module that needs torchvision imports it from here.
"""

from __future__ import annotations

import sys
from typing import Any

import torch

_library = torch.library.Library("torchvision", "FRAGMENT")

try:
    import torchvision
except RuntimeError:  # operator torchvision::nms does not exist
    _library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    import torchvision
from torchvision.transforms import v2  # noqa: E402

__all__ = ["import_timm", "torchvision", "v2"]


def import_timm() -> Any:
    """timm, which imports torchvision itself, at its first use: it takes a second."""
    import timm

    return timm
