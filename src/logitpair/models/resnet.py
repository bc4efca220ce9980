"""Residual networks for ImageNet: the paper's ResNet-101, the ResNet-v2-50 of its released code, and one small enough for a CPU."""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from logitpair.errors import InputError
from logitpair.models.normalized import Normalized
from logitpair.models.pretrained import IMAGENET_CLASSES, fetching
from logitpair.runtime.lazy_imports import import_timm, import_torchvision
from logitpair.validate import whole

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class ResNet101(nn.Module):
    """ResNet-101 of torchvision for 224x224 images, its normalisation inside.

    Args:
        classes: number of logits.
        pretrained: begin with torchvision's first ImageNet weights (downloaded once); for other than 1,000 classes the last layer is new.

    Raises:
        InputError: if the weights cannot be fetched.

    Source: arXiv 1512.03385, table 1. Departure: bottlenecks stride in their 3x3 convolution, as torchvision's do. The pairing paper
    says no more than the name.
    """

    def __init__(self, classes: int = IMAGENET_CLASSES, pretrained: bool = False) -> None:
        super().__init__()
        whole("classes", classes, 2)
        models: Any = import_torchvision().models
        if pretrained:
            with fetching("resnet101"):
                network = models.resnet101(weights=models.ResNet101_Weights.IMAGENET1K_V1)
            if classes != IMAGENET_CLASSES:
                network.fc = nn.Linear(network.fc.in_features, classes)
        else:
            network = models.resnet101(weights=None, num_classes=classes)
        self.network = Normalized(network, IMAGENET_MEAN, IMAGENET_STD)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch classes"]:
        return self.network(x)


class ResNetV2_50(nn.Module):
    """Pre-activation ResNet-50 of timm for 64x64 images, its normalisation inside: ImageNet and Tiny ImageNet as the release has them.

    The released code gives its 64x64 images to the very network for 224x224: a 7x7 convolution of stride 2 and a pooling of stride 2
    make them 16x16 before the first block and 2x2 behind the last.

    Args:
        classes: number of logits.
        small_stem: begin with a 3x3 convolution of stride 1 and no pooling instead, which the release does not; 8x8 is then left behind
            the last block, for 16 times the computing.

    Source: arXiv 1603.05027, and the released code of arXiv 1803.06373 for the size, the stem and pixels in [-1, 1]. Departures:
    the first unit of a stage strides and not the last, as in the paper; BatchNorm's momentum is PyTorch's 0.1, there 0.003.
    """

    def __init__(self, classes: int = IMAGENET_CLASSES, small_stem: bool = False) -> None:
        super().__init__()
        whole("classes", classes, 2)
        network: Any = import_timm().create_model("resnetv2_50", num_classes=classes)
        if small_stem:
            network.stem = _conv3x3(64)
        self.network = Normalized(network, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch classes"]:
        return self.network(x)


class SmallResNetV2(nn.Module):
    """A pre-activation residual network for 32x32 images that one CPU core trains in minutes, its normalisation inside.

    A 3x3 convolution of stride 2, then stages of basic units at 16x16, 8x8, 4x4, ..., each twice as wide as the one before.

    Args:
        classes: number of logits.
        blocks: units of each stage, at least one stage.
        width: channels of the first stage, a multiple of 8.

    Raises:
        InputError: for sizes that make no network.

    Source: arXiv 1603.05027, by timm's ``ResNetV2``.
    """

    def __init__(self, classes: int = IMAGENET_CLASSES, blocks: Sequence[int] = (1, 1, 1), width: int = 32) -> None:
        super().__init__()
        whole("classes", classes, 2)
        whole("width", width, 8)
        if width % 8:
            raise InputError(f"width must be a multiple of 8, not {width}")
        if not blocks:
            raise InputError("blocks is empty; accepted: units of each stage, such as [1, 1, 1]")
        for count in blocks:
            whole("blocks", count, 1)
        channels = tuple(width * 2**stage for stage in range(len(blocks)))
        network: Any = import_timm().create_model(
            "resnetv2_18", layers=tuple(blocks), channels=channels, stem_chs=width, num_classes=classes
        )
        network.stem = _conv3x3(width, stride=2)
        self.network = Normalized(network, IMAGENET_MEAN, IMAGENET_STD)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch classes"]:
        return self.network(x)


def _conv3x3(width: int, stride: int = 1) -> nn.Conv2d:
    """The first convolution of a network for images smaller than its ImageNet one takes."""
    convolution = nn.Conv2d(3, width, 3, stride, padding=1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return convolution
