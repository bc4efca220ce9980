"""Pre-activation residual networks for 32x32 images: PreActResNet-18 and the wide ones of the literature on CIFAR."""

from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from logitpair.errors import InputError
from logitpair.models.normalized import Normalized
from logitpair.validate import whole

CIFAR10_MEAN, CIFAR10_STD = (0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)  # of the training images, channel by channel


class PreActBlock(nn.Module):
    """``S(x) + conv2(relu(bn2(conv1(a))))`` of ``a = relu(bn1(x))``; S is x, or a 1x1 convolution of ``a`` where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), _convolution(inputs, outputs, 3, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(outputs), _convolution(outputs, outputs, 3)
        self.shortcut = _convolution(inputs, outputs, 1, stride) if stride > 1 or inputs != outputs else None

    def forward(self, x: Float[Tensor, "batch inputs height width"]) -> Float[Tensor, "batch outputs new_height new_width"]:
        activated = F.relu(self.bn1(x))
        shortcut = x if self.shortcut is None else self.shortcut(activated)
        return shortcut + self.conv2(F.relu(self.bn2(self.conv1(activated))))


class PreActResNet(nn.Module):
    """A 3x3 convolution, stages of ``PreActBlock``s, BatchNorm, ReLU, average over the image, logits; it takes normalised images.

    The first block of a stage halves the resolution, except in the first stage.

    Args:
        blocks: of each stage.
        widths: channels of the first convolution and of each stage: one number more than ``blocks``.
        classes: number of logits.
        channels: channels of the images.

    Raises:
        InputError: for sizes that make no network.

    Source: arXiv 1603.05027, figure 4 e and table 1, and arXiv 1605.07146, table 1. Initial weights of convolutions are those of arXiv
    1502.01852, by the number of outputs.
    """

    def __init__(self, blocks: Sequence[int], widths: Sequence[int], *, classes: int = 10, channels: int = 3) -> None:
        super().__init__()
        whole("classes", classes, 2)
        whole("channels", channels, 1)
        if not blocks or len(widths) != len(blocks) + 1:
            raise InputError(f"widths must be one number more than blocks, not {len(widths)} for {len(blocks)}: {list(widths)}")
        for name, numbers in (("blocks", blocks), ("widths", widths)):
            for number in numbers:
                whole(name, number, 1)
        self.conv1 = _convolution(channels, widths[0], 3)
        stages: list[nn.Module] = []
        for stage, count in enumerate(blocks):
            inputs, outputs, stride = widths[stage], widths[stage + 1], 1 if stage == 0 else 2
            later = [PreActBlock(outputs, outputs, 1) for _ in range(count - 1)]
            stages.append(nn.Sequential(PreActBlock(inputs, outputs, stride), *later))
        self.stages = nn.Sequential(*stages)
        self.bn, self.linear = nn.BatchNorm2d(widths[-1]), nn.Linear(widths[-1], classes)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch classes"]:
        x = F.relu(self.bn(self.stages(self.conv1(x))))
        return self.linear(x.mean(dim=(2, 3)))


class PreActResNet18(Normalized):
    """PreActResNet-18 for 32x32 images, its normalisation inside: 11.17 million parameters.

    Args:
        classes: number of logits.
        mean, std: of the images' channels, CIFAR-10's by default; in [0, 1] pixel scale.

    Source: the 18 layers of arXiv 1512.03385, table 1, with the units of arXiv 1603.05027, and for 32x32 images a first convolution of
    3x3 and stride 1 without pooling, as papers on CIFAR-10 have it (arXiv 2002.11569, arXiv 2202.01181).
    """

    def __init__(self, classes: int = 10, mean: Sequence[float] = CIFAR10_MEAN, std: Sequence[float] = CIFAR10_STD) -> None:
        super().__init__(PreActResNet((2, 2, 2, 2), (64, 64, 128, 256, 512), classes=classes), mean, std)


class WideResNet(Normalized):
    """A wide residual network for 32x32 images, WRN-``depth``-``width``, its normalisation inside.

    WRN-28-10 has 36.5 million parameters, WRN-34-10 46.2.

    Args:
        depth: convolutions, those of the three shortcuts counted: 6n + 4 for n blocks in each of the three stages.
        width: times the 16, 32 and 64 channels of the stages.
        classes, mean, std: as of ``PreActResNet18``.

    Raises:
        InputError: for another depth, and a width below 1.

    Source: arXiv 1605.07146, table 1, without dropout; with depth 34 the network of arXiv 1706.06083 and arXiv 1901.08573.
    """

    def __init__(
        self, depth: int = 28, width: int = 10, classes: int = 10, mean: Sequence[float] = CIFAR10_MEAN, std: Sequence[float] = CIFAR10_STD
    ) -> None:
        whole("depth", depth, 10)
        whole("width", width, 1)
        if (depth - 4) % 6:
            raise InputError(f"depth must be 6n + 4, such as 28 or 34, not {depth}")
        widths = (16, 16 * width, 32 * width, 64 * width)
        super().__init__(PreActResNet((depth // 6,) * 3, widths, classes=classes), mean, std)


def _convolution(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Conv2d:
    convolution = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return convolution
