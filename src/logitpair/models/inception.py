"""Inception v3, the paper's first ImageNet network."""

from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from logitpair.errors import InputError
from logitpair.models.pretrained import IMAGENET_CLASSES, fetching
from logitpair.runtime.lazy_imports import import_torchvision
from logitpair.validate import whole

SIZE = 299
SMALLEST = 75


class InceptionV3(nn.Module):
    """Inception v3 of torchvision for 299x299 images, its normalisation and its auxiliary head inside.

    The auxiliary head is a second classifier on features from the middle of the network, whose loss helps training. ``forward``
    returns the logits alone; to those of the head a training loop adds ``auxiliary_weight * cross_entropy(auxiliary_logits, labels)``.

    Args:
        classes: number of logits.
        pretrained: begin with torchvision's ImageNet weights (downloaded once); for other than 1,000 classes the two last layers are new.
        size: height and width of the images, in pixels, at least 75. Below 299 nothing would be left for the last convolution of the
            auxiliary head, and the network is built without one.

    Attributes:
        auxiliary_logits: the head's logits ``[batch, classes]`` of the last forward in training mode, a part of its graph; None in eval
            mode, without a head, and in copies and pickles. It is no part of ``state_dict``.
        auxiliary_weight: what the head's loss counts for in training, 0.4.

    Raises:
        InputError: for a size below 75, images that are too small, or weights that cannot be fetched.

    Source: arXiv 1512.00567, and TensorFlow's released code for what it leaves open: the weight of the auxiliary loss, pixels in
    [-1, 1], and random convolutions as of arXiv 1502.01852, which torchvision's begin too large for eval mode, in which attacks run.
    Departure from that code: dropout is torchvision's 0.5, there 0.2.
    """

    auxiliary_weight: ClassVar[float] = 0.4
    auxiliary_logits: Tensor | None

    def __init__(self, classes: int = IMAGENET_CLASSES, pretrained: bool = False, size: int = SIZE) -> None:
        super().__init__()
        whole("classes", classes, 2)
        whole("size", size, SMALLEST)
        models: Any = import_torchvision().models
        if pretrained:
            with fetching("inception_v3"):
                network = models.inception_v3(weights=models.Inception_V3_Weights.IMAGENET1K_V1, transform_input=False)
            if classes != IMAGENET_CLASSES:
                network.fc = nn.Linear(network.fc.in_features, classes)
                network.AuxLogits.fc = nn.Linear(network.AuxLogits.fc.in_features, classes)
        else:
            network = models.inception_v3(weights=None, num_classes=classes, init_weights=False)
            for module in network.modules():
                if isinstance(module, nn.Conv2d):
                    nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if size < SIZE:
            network.aux_logits, network.AuxLogits = False, None
        self.network = network
        self.auxiliary_logits = None

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch classes"]:
        height, width = x.shape[-2:]
        with_head = self.network.training and self.network.aux_logits
        least = SIZE if with_head else SMALLEST
        if min(height, width) < least:
            smaller = f"; for smaller ones build it with their size (at least {SMALLEST}), without auxiliary head" if with_head else ""
            what = "in training" if with_head else "of Inception v3"
            raise InputError(f"model: images {what} must be at least {least}x{least} pixels, not {height}x{width}{smaller}")
        outputs = self.network(2 * x - 1)
        logits, self.auxiliary_logits = outputs if with_head else (outputs, None)
        return logits

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"auxiliary_logits": None}  # which belong to a graph
