"""torchvision beside any PyTorch, whoever imports it first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import logitpair


@pytest.mark.parametrize("first", ["import logitpair.runtime.lazy_imports", "from logitpair.models.load_model import read_model"])
def test_a_module_of_the_user_s_may_import_torchvision(tmp_path: Path, first: str) -> None:
    (tmp_path / "mine.py").write_text(
        "import torch, torchvision\nfrom torchvision.models import resnet18\n"
        "boxes = torch.tensor([[0.0, 0, 1, 1]])\nassert torch.ops.torchvision.nms\nmake = lambda: resnet18(num_classes=3)\n"
    )
    code = (
        f"import sys\nsys.path[:0] = [{str(tmp_path)!r}, {str(Path(logitpair.__file__).parents[1])!r}]\n{first}\nimport mine\nmine.make()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
