"""A small convolutional network, for images too small or machines too slow for anything else."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class SmallConvNet(nn.Module):
    """Two 3x3 convolutions (the second halves the image), fully connected 128, logits.

    Args:
        classes: number of logits.
        channels: channels of the images.
        size: height and width of the images, in pixels (even).
        width: channels of the first convolution; the second has twice as many.
    """

    def __init__(self, classes: int = 10, channels: int = 1, size: int = 8, width: int = 32) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(width, 2 * width, kernel_size=3, padding=1, stride=2)
        self.hidden = nn.Linear(2 * width * (size // 2) ** 2, 128)
        self.logits = nn.Linear(128, classes)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch classes"]:
        """Logits of images in [0, 1]."""
        x = F.relu(self.conv1(x))
        x = F.relu(self.conv2(x))
        x = F.relu(self.hidden(x.flatten(1)))
        return self.logits(x)
