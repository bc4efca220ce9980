"""torchvision beside any PyTorch, whoever imports it first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import logitpair
from logitpair.errors import InputError
from logitpair.runtime.lazy_imports import import_optional


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


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise TypeError('Descriptors cannot be\\ncreated')", "Descriptors cannot be"),
        ("import no_such", "No module"),
        ("", "not installed"),
    ],
)
def test_an_optional_library_that_does_not_work_is_named_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, reason: str
) -> None:
    (tmp_path / "unfit_library.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "unfit_library", raising=False)
    with pytest.raises(InputError, match=r"^--it needs unfit_library, which cannot be imported \(") as caught:
        import_optional("unfit_library", "part", needed_by="--it", extra="it")
    assert reason in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
