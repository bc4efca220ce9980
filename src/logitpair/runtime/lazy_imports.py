"""Libraries that take seconds to import, at their first use, and torchvision beside a CPU-only PyTorch.

The CUDA wheel of torchvision fails to import where its compiled operators cannot be loaded; declaring the schemas of the two that it
registers by name is enough. It is done before anything imports torchvision, which a network of the user's may do by itself. Elsewhere
than on Linux the wheels of the two libraries go together.
"""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

_library = torch.library.Library("torchvision", "FRAGMENT")


def _declare_operators() -> None:
    """Declare torchvision's operators, unless it is imported or can load its own."""
    spec = find_spec("torchvision")
    if sys.platform != "linux" or "torchvision" in sys.modules or spec is None or spec.origin is None:
        return
    try:
        for compiled in Path(spec.origin).parent.glob("_C.*"):
            torch.ops.load_library(compiled)
    except OSError:
        _library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


_declare_operators()


def import_torchvision() -> Any:
    """torchvision, with ``transforms.v2``."""
    import torchvision.transforms.v2  # pyright: ignore[reportUnusedImport]

    return torchvision


def import_timm() -> Any:
    """timm, which imports torchvision itself, with ``optim``."""
    import timm.optim  # pyright: ignore[reportUnusedImport]

    return timm
