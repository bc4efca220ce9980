"""PGD along gradients of a smoothed network: for training where a network's own gradients are zero in most pixels."""

from dataclasses import KW_ONLY, dataclass

from torch import Tensor, nn

from logitpair.attacks.backward_smoothing import SmoothBackward
from logitpair.attacks.base import Images, Labels
from logitpair.attacks.pgd import PGD
from logitpair.validate import positive


@dataclass(frozen=True)
class SmoothedPGD(PGD):
    """PGD whose gradients let through, in part, what ReLUs that are off hold back (``SmoothBackward``).

    A threshold on the pixels (``models.StridedConvNet(threshold=...)``) holds the gradient back wherever a pixel is below or above its
    slope, also where a perturbation would cross it: a step along the network's own gradient leaves such pixels where they began. ReLUs in
    the loss are smoothed too.

    Args:
        smoothing: see ``SmoothBackward``, above 0; the same in every step. The others are those of ``PGD``.

    Source: ours, out of the two.
    """

    _: KW_ONLY
    smoothing: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        positive("smoothing", self.smoothing)

    def ascend(self, model: nn.Module, x: Images, y: Labels, target: Tensor, start: Images) -> tuple[Images, Labels]:
        with SmoothBackward(self.smoothing):
            return super().ascend(model, x, y, target, start)
