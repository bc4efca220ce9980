"""torchvision beside a CPU-only PyTorch.

The CUDA wheel of torchvision fails to import where PyTorch lacks two operators it wraps; declaring their schemas is enough.
Every module that needs torchvision imports it from here.
"""

from __future__ import annotations

from typing import Any

import torch

_library = torch.library.Library("torchvision", "DEF") if torch.version.cuda is None and torch.version.hip is None else None
if _library is not None:
    _library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import torchvision  # noqa: E402
from torchvision.transforms import v2  # noqa: E402

__all__ = ["import_timm", "torchvision", "v2"]


def import_timm() -> Any:
    """timm, which imports torchvision itself, at its first use: it takes a second."""
    import timm

    return timm
