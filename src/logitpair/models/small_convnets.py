"""Small convolutional networks: the MNIST network of Madry et al., and one for images or machines too small for anything else."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from logitpair.validate import whole


class LeNet(nn.Module):
    """conv 5x5 x 32, pool, conv 5x5 x 64, pool, fully connected 1024, logits; for 28x28 images.

    Args:
        classes: number of logits.
        channels: channels of the images.
        filters: filters of the first convolution; the second has twice and the hidden layer 32 times as many. 32 is the original.

    Raises:
        InputError: for sizes that make no network.

    Source: arXiv 1706.06083, section 5 and its released code. ReLU comes after the pooling: the same function and gradient, on a
    quarter of the numbers, since raising to zero and taking a maximum commute.
    """

    def __init__(self, classes: int = 10, channels: int = 1, filters: int = 32) -> None:
        super().__init__()
        whole("classes", classes, 2)
        whole("channels", channels, 1)
        whole("filters", filters, 1)
        self.conv1 = nn.Conv2d(channels, filters, kernel_size=5, padding=2)
        self.conv2 = nn.Conv2d(filters, 2 * filters, kernel_size=5, padding=2)
        self.hidden = nn.Linear(7 * 7 * 2 * filters, 32 * filters)
        self.logits = nn.Linear(32 * filters, classes)

    def forward(self, x: Float[Tensor, "batch channels 28 28"]) -> Float[Tensor, "batch classes"]:
        x = F.relu(F.max_pool2d(self.conv1(x), 2))
        x = F.relu(F.max_pool2d(self.conv2(x), 2))
        x = F.relu(self.hidden(x.flatten(1)))
        return self.logits(x)


class SmallConvNet(nn.Module):
    """Two 3x3 convolutions (the second halves the image), fully connected 128, logits.

    Args:
        classes: number of logits.
        channels: channels of the images.
        size: height and width of the images, in pixels.
        width: channels of the first convolution; the second has twice as many.

    Raises:
        InputError: for sizes that make no network.
    """

    def __init__(self, classes: int = 10, channels: int = 1, size: int = 8, width: int = 32) -> None:
        super().__init__()
        whole("classes", classes, 2)
        whole("channels", channels, 1)
        whole("size", size, 1)
        whole("width", width, 1)
        self.conv1 = nn.Conv2d(channels, width, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(width, 2 * width, kernel_size=3, padding=1, stride=2)
        self.hidden = nn.Linear(2 * width * ((size + 1) // 2) ** 2, 128)
        self.logits = nn.Linear(128, classes)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch classes"]:
        x = F.relu(self.conv1(x))
        x = F.relu(self.conv2(x))
        x = F.relu(self.hidden(x.flatten(1)))
        return self.logits(x)
