"""Networks for certified training: no max pooling, BatchNorm behind every layer but the last, weights drawn so that bounds do not grow."""

import math
from collections.abc import Iterator, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from logitpair.errors import InputError
from logitpair.validate import positive, whole


class SoftThreshold(nn.Module):
    """Each pixel by itself: 0 up to a value, 1 from another, both as far from 1/2, and a straight line between.

    Interval bounds lose nothing here, since the interval of a pixel becomes exactly that of its result; in pictures of ink on paper most
    perturbations end here too. So do the gradients of most pixels, which hinders attacks: what they leave of such a network says little,
    and a certificate says what it always does. First layers of networks that are trained to be robust on MNIST become such thresholds by
    themselves.

    Args:
        width: from the one value to the other, above 0; 1 leaves images as they are.

    Source: arXiv 1706.06083, appendix on the networks' inspection, for the observation; made of two ReLUs, so that bounds are known of it.
    """

    def __init__(self, width: float) -> None:
        super().__init__()
        positive("width", width)
        self.width = float(width)

    def forward(self, x: Tensor) -> Tensor:
        return 1 - F.relu(1 - F.relu((x - 0.5) / self.width + 0.5))

    def extra_repr(self) -> str:
        return f"width={self.width}"


class StridedConvNet(nn.Sequential):
    """Convolutions 5x5 of stride 2, a fully connected layer, logits; each but the last with BatchNorm and ReLU.

    Args:
        classes: number of logits.
        channels: channels of the images.
        size: height and width of the images, in pixels.
        filters: of each convolution.
        hidden: width of the fully connected layer.
        threshold: width of a ``SoftThreshold`` before them; None for none.

    Raises:
        InputError: for sizes that make no network.

    Source: ours; the initial weights are those of ``ibp_init``.
    """

    def __init__(
        self,
        classes: int = 10,
        channels: int = 1,
        size: int = 28,
        filters: Sequence[int] = (32, 64),
        hidden: int = 512,
        threshold: float | None = None,
    ) -> None:
        whole("classes", classes, 2)
        whole("channels", channels, 1)
        whole("size", size, 1)
        whole("hidden", hidden, 1)
        layers: list[nn.Module] = []
        if threshold is not None:
            positive("threshold", threshold)
            layers.append(SoftThreshold(threshold))
        for count in filters:
            whole("filters", count, 1)
            layers += [nn.Conv2d(channels, count, 5, stride=2, bias=False), nn.BatchNorm2d(count), nn.ReLU()]
            channels, size = count, (size - 5) // 2 + 1
        if size < 1:
            raise InputError(f"filters: {len(filters)} convolutions of 5x5 and stride 2 are too many for the images; accepted: fewer")
        super().__init__(*layers, *_head(channels * size**2, hidden, classes))
        ibp_init(self)


class CNN7(nn.Sequential):
    """The seven-layer network of the literature on certified training: five convolutions 3x3, 512 fully connected, logits.

    Args:
        classes: number of logits.
        channels: channels of the images.
        size: height and width of the images, in pixels.
        width: filters of the first two convolutions; the others, the first of which halves the image, have twice as many.

    Raises:
        InputError: for sizes that make no network.

    Source: arXiv 2103.17268, appendix; BatchNorm behind every layer but the last; the initial weights are those of ``ibp_init``.
    """

    def __init__(self, classes: int = 10, channels: int = 1, size: int = 28, width: int = 64) -> None:
        whole("classes", classes, 2)
        whole("channels", channels, 1)
        whole("size", size, 1)
        whole("width", width, 1)
        convolutions = [(width, 3, 1), (width, 3, 1), (2 * width, 3, 2), (2 * width, 3, 1), (2 * width, 3, 1)]
        super().__init__(*_padded_convolutions(channels, convolutions), *_head(2 * width * ((size + 1) // 2) ** 2, 512, classes))
        ibp_init(self)


class CNN6(nn.Sequential):
    """A smaller relative of ``CNN7`` for a few CPU cores: two of its four convolutions halve the image, the first of them 5x5.

    Args:
        classes: number of logits.
        channels: channels of the images.
        size: height and width of the images, in pixels.
        width: filters of the first convolution; the three others, 3x3, have twice as many.

    Raises:
        InputError: for sizes that make no network.

    Source: ours; BatchNorm behind every layer but the last; the initial weights are those of ``ibp_init``.
    """

    def __init__(self, classes: int = 10, channels: int = 1, size: int = 28, width: int = 32) -> None:
        whole("classes", classes, 2)
        whole("channels", channels, 1)
        whole("size", size, 1)
        whole("width", width, 1)
        convolutions = [(width, 5, 2), (2 * width, 3, 1), (2 * width, 3, 2), (2 * width, 3, 1)]
        super().__init__(*_padded_convolutions(channels, convolutions), *_head(2 * width * ((size + 3) // 4) ** 2, 256, classes))
        ibp_init(self)


def _padded_convolutions(channels: int, convolutions: Sequence[tuple[int, int, int]]) -> Iterator[nn.Module]:
    """Convolutions (filters, kernel size, stride) padded to keep the image's size but for their stride, each with BatchNorm and ReLU."""
    for filters, kernel_size, stride in convolutions:
        yield nn.Conv2d(channels, filters, kernel_size, stride, padding=kernel_size // 2, bias=False)
        yield nn.BatchNorm2d(filters)
        yield nn.ReLU()
        channels = filters


def _head(features: int, hidden: int, classes: int) -> Iterator[nn.Module]:
    """A fully connected layer with BatchNorm and ReLU, then logits."""
    yield nn.Flatten()
    yield nn.Linear(features, hidden, bias=False)
    yield nn.BatchNorm1d(hidden)
    yield nn.ReLU()
    yield nn.Linear(hidden, classes)


def ibp_init(model: nn.Module) -> None:
    """Draw the weights of convolutions and fully connected layers from a normal of deviation ``sqrt(2 pi) / fan_in``; biases become 0.

    Intervals then keep their width from layer to layer (arXiv 2103.17268, section 3.1).
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.normal_(module.weight, std=math.sqrt(2 * math.pi) / module.weight[0].numel())
            if module.bias is not None:
                nn.init.zeros_(module.bias)
