"""Libraries that take seconds to import, at their first use, and torchvision beside a CPU-only PyTorch.

The CUDA wheel of torchvision fails to import where its compiled operators cannot be loaded; declaring the schemas of the two it
registers by name is enough. Every module that needs torchvision or timm gets it from here.
"""

import sys
from functools import cache
from typing import Any

import torch

_library = torch.library.Library("torchvision", "FRAGMENT")


@cache
def import_torchvision() -> Any:
    """torchvision, with ``transforms.v2``."""
    try:
        import torchvision
    except RuntimeError:  # operator torchvision::nms does not exist
        _library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        import torchvision
    import torchvision.transforms.v2  # pyright: ignore[reportUnusedImport]

    return torchvision


def import_timm() -> Any:
    """timm, which imports torchvision itself, with ``optim``."""
    import_torchvision()
    import timm.optim  # pyright: ignore[reportUnusedImport]

    return timm
