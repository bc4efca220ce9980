"""Reversible residual networks, whose activation memory does not grow with depth."""

from collections import OrderedDict
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from logitpair.errors import InputError
from logitpair.models.reversible import ReversibleBlock, ReversibleChain, Stream
from logitpair.validate import whole

Reshaped = Float[Tensor, "batch new_half new_height new_width"]


class RevNet(nn.Module):
    """A convolution, stages of residual units on two halves of the channels, BatchNorm, ReLU, average over the image, logits.

    A unit of a stage is reversible where it keeps resolution and width. The first unit of a stage halves the resolution (except in the
    first stage) and widens: its activations are stored. Layers are counted as convolutions and the last linear layer: 2 + 4 a unit.

    Args:
        units: residual units of each stage.
        widths: channels of the first convolution and of each stage's output, both halves together: one number more than ``units``.
        classes: number of logits.
        channels: channels of the images.
        reversible: recompute activations instead of storing them; False gives the same numbers with more memory and less computing.

    Raises:
        InputError: for sizes that make no network.

    Source: Gomez et al. 2017, arXiv 1707.04585, section 3.2, and its released code for 32x32 images for what the text leaves open: the
    shortcuts, no BatchNorm-ReLU before the very first residual function, and the initialisation. Departures: 0.5 is subtracted instead
    of the mean image, padding is symmetric, BatchNorm has PyTorch's momentum and epsilon (0.1 and 1e-5, there 0.001 and 1e-3), and a
    first unit that keeps its shape is reversible too.
    """

    def __init__(
        self, units: Sequence[int], widths: Sequence[int], *, classes: int = 10, channels: int = 3, reversible: bool = True
    ) -> None:
        super().__init__()
        whole("classes", classes, 2)
        whole("channels", channels, 1)
        if not units or len(widths) != len(units) + 1:
            raise InputError(f"widths must be one number more than units, not {len(widths)} for {len(units)}: {list(widths)}")
        for width in widths:
            whole("widths", width, 2)
            if width % 2:
                raise InputError(f"widths must be multiples of 2, not {width}")
        self.stem = nn.Sequential(OrderedDict(conv=_conv3x3(channels, widths[0]), norm=nn.BatchNorm2d(widths[0]), relu=nn.ReLU()))
        self.stages = nn.ModuleList()
        for stage, count in enumerate(units):
            whole("units", count, 1)
            before, width, stride = widths[stage], widths[stage + 1], 1 if stage == 0 else 2
            blocks: list[ReversibleBlock] = []
            for unit in range(count):
                inside, step = (before, stride) if unit == 0 else (width, 1)
                f = _residual(inside // 2, width // 2, step, activated=stage == unit == 0)
                g = _residual(width // 2, width // 2)
                if inside == width and step == 1:
                    blocks.append(ReversibleBlock(f, g))
                else:
                    self.stages.append(TransitionBlock(f, g, step, (width - inside) // 2))
            if blocks:
                self.stages.append(ReversibleChain(blocks, reversible=reversible))
        self.norm = nn.BatchNorm2d(widths[-1])
        self.logits = nn.Linear(widths[-1], classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch classes"]:
        x1, x2 = self.stem(x - 0.5).chunk(2, dim=1)
        for stage in self.stages:
            x1, x2 = stage(x1, x2)
        x = F.relu(self.norm(torch.cat([x1, x2], dim=1)))
        return self.logits(x.mean(dim=(2, 3)))


class TransitionBlock(nn.Module):
    """``y1 = S(x1) + F(x2)``, ``y2 = S(x2) + G(y1)``, where resolution or width change, so that nothing can be reversed.

    The shortcut S pools by ``stride`` and has zeros for the ``added`` channels, as many before the old ones as behind.
    """

    def __init__(self, f: nn.Module, g: nn.Module, stride: int, added: int) -> None:
        super().__init__()
        self.f, self.g = f, g
        self.stride, self.added = stride, added

    def forward(self, x1: Stream, x2: Stream) -> tuple[Reshaped, Reshaped]:
        y1 = self._shortcut(x1) + self.f(x2)
        return y1, self._shortcut(x2) + self.g(y1)

    def _shortcut(self, x: Stream) -> Reshaped:
        x = F.avg_pool2d(x, self.stride, ceil_mode=True)
        return F.pad(x, (0, 0, 0, 0, self.added // 2, self.added - self.added // 2))


class RevNet9(RevNet):
    """The smallest RevNet for 32x32 images: 9 convolutions, in two stages of one unit, at 32x32 and at 16x16.

    The 9 are the first convolution and 2 units x (F and G) x 2 convolutions; with the linear layer, which Gomez et al. count, it would
    be called RevNet-10. Of the network for SVHN the adversarial logit pairing paper gives the name alone, neither stages nor widths.

    Args:
        classes: number of logits.
        channels: channels of the images.
        width: channels of the first convolution and the first stage; the second has twice as many. 32 is that of the published
            RevNets for 32x32 images, and gives 0.04 million parameters (128: 0.7 million).
        reversible: as ``RevNet``'s. Here the first of the two units is reversible.

    Source: arXiv 1803.06373 for the name; arXiv 1707.04585 for the design.
    """

    def __init__(self, classes: int = 10, channels: int = 3, width: int = 32, reversible: bool = True) -> None:
        super().__init__((1, 1), (width, width, 2 * width), classes=classes, channels=channels, reversible=reversible)


def _residual(inputs: int, outputs: int, stride: int = 1, *, activated: bool = False) -> nn.Sequential:
    """BatchNorm, ReLU and convolution, twice; input that is ``activated`` goes right into the first convolution."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, convolution in enumerate((_conv3x3(inputs, outputs, stride), _conv3x3(outputs, outputs)), 1):
        if not (activated and number == 1):
            layers[f"norm{number}"] = nn.BatchNorm2d(convolution.in_channels)
            layers[f"relu{number}"] = nn.ReLU()
        layers[f"conv{number}"] = convolution
    return nn.Sequential(layers)


def _conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
