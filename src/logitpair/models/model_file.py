"""Networks whose files hold their code beside their weights: TorchScript, and programs that ``torch.export`` wrote."""

import hashlib
import warnings
import zipfile
from pathlib import Path
from typing import Any, Literal, Self

import torch
from jaxtyping import Float
from torch import Tensor, nn

from logitpair.errors import InputError
from logitpair.storage.weights import not_what_was_meant, read_weights

MADE_BY = "logitpair"  # what our own exports are marked with, of which each takes images in [0, 1] as they are
ACCEPTED = "a TorchScript file (torch.jit.save) or an exported program (torch.export.save)"
WITH_WEIGHTS = "name the network by --model, as timm:NAME or my_package.my_module.MyNet, and give this file by --weights"


class NetworkFile(nn.Module):
    """The network of a TorchScript file or an exported program, whatever its suffix; its code runs when it is called."""

    network: nn.Module
    digest: Tensor
    made_here = False  # by `logitpair export`

    def __init__(self, path: Path) -> None:
        super().__init__()
        kind = kind_of(path)
        if kind is None:
            raise _refusal(path)
        try:
            if kind == "torchscript":
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", DeprecationWarning)  # who has such a file knows that torch.jit is deprecated
                    self.network = torch.jit.load(path, map_location="cpu")
            else:
                marks = {MADE_BY: ""}
                with path.open("rb") as file:  # by its name, torch.export refuses another suffix than .pt2
                    self.network = torch.export.load(file, extra_files=marks).module()
                self.made_here = bool(marks[MADE_BY])
        except Exception as error:  # torch raises whatever the damaged bytes lead to
            raise InputError(f"--model: '{path}' is damaged, or of another version of PyTorch; accepted: {ACCEPTED}") from error
        # a frozen network's weights are part of its code: only by this do two such files differ for a comparison of their tensors
        self.register_buffer("digest", torch.tensor(list(hashlib.sha256(path.read_bytes()).digest()), dtype=torch.uint8))

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Any:
        return self.network(x)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of a scripted network; an exported one stays in the mode that it was exported in."""
        self.training = mode
        if isinstance(self.network, torch.jit.ScriptModule):
            self.network.train(mode)
        return self


def kind_of(path: Path) -> Literal["torchscript", "exported"] | None:
    """Which kind of network a file holds, by what is in it; None for anything else."""
    try:
        with zipfile.ZipFile(path) as file:
            members = {name.partition("/")[2] for name in file.namelist()}
    except zipfile.BadZipFile:
        return None
    if "archive_format" in members:
        return "exported"
    return "torchscript" if "constants.pkl" in members else None


def _refusal(path: Path) -> InputError:
    """Why a file that is no network cannot be ``--model``."""
    if what := not_what_was_meant(path):
        return InputError(f"--model: '{path}' {what}; accepted: {ACCEPTED}")
    try:
        read_weights(path)
        return InputError(f"--model: '{path}' holds weights but no network; {WITH_WEIGHTS}")
    except InputError as error:
        if "holds more than weights" in str(error):
            return InputError(
                f"--model: '{path}' holds pickled objects, which run code when they are read; save the network by torch.jit.save or "
                f"torch.export.save, or save its state_dict and {WITH_WEIGHTS}"
            )
        return InputError(f"--model: '{path}' is truncated or holds no network; accepted: {ACCEPTED}")
