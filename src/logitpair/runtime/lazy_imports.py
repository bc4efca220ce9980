"""Libraries that take seconds to import or may be missing, at their first use, and torchvision beside a CPU-only PyTorch.

The CUDA wheel of torchvision fails to import where its compiled operators cannot be loaded; declaring the schemas of the two that it
registers by name is enough. It is done before anything imports torchvision, which a network of the user's may do by itself. Elsewhere
than on Linux the wheels of the two libraries go together.
"""

import importlib
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from logitpair.errors import InputError, first_line

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
    importlib.import_module("torchvision.transforms.v2")
    return importlib.import_module("torchvision")


def import_timm() -> Any:
    """timm, which imports torchvision itself, with ``optim``."""
    importlib.import_module("timm.optim")
    return importlib.import_module("timm")


def import_optional(name: str, holds: str, *, needed_by: str, extra: str) -> Any:
    """An optional library's module, refused where it lacks what it ``holds``, as a folder of its name in the current one does."""
    reason = "not installed"
    try:
        module = importlib.import_module(name)
        if hasattr(module, holds):
            return module
    except Exception as error:  # a library that does not fit the others raises whatever it comes to first
        reason = first_line(error)
    raise InputError(f"{needed_by} needs {name.partition('.')[0]}, which cannot be imported ({reason}): pip install 'logitpair[{extra}]'")
