"""Mixup: what it mixes, how much, and what it reports."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor, nn

from logitpair.objectives import LossTerms, Mixup
from logitpair.objectives.mixup import symmetric_beta
from logitpair.runtime.distributed import World
from logitpair.training.metrics import Window, summary
from logitpair.training.train_step import measured


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Recorded(nn.Module):
    """A linear network that keeps the images it was last given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(20, 3, generator=seeded(5), dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        self.images = x.flatten(1)
        return self.images @ self.weight


def mixed(seed: int, alpha: float = 1.0) -> tuple[float, list[int], Recorded, Tensor]:
    """The share and the partners that mixup took for images of one bright pixel each, which show both; the network, the total."""
    x, y = torch.eye(20, dtype=torch.float64).view(20, 1, 4, 5), torch.arange(20) % 3
    model = Recorded()
    result = Mixup(alpha=alpha)(model, x, y, generator=seeded(seed))
    assert result.logits == {}
    own = model.images.diagonal()
    rest = model.images - own.diag()
    alone = rest.sum(1) == 0  # an image that is its own partner
    return own[~alone][0].item(), torch.where(alone, torch.arange(20), rest.argmax(1)).tolist(), model, result.total


def test_mixup_combines_images_and_labels_alike() -> None:
    share, partners, model, total = mixed(0)
    assert sorted(partners) == list(range(20))
    assert partners != list(range(20))
    eye, labels = torch.eye(20, dtype=torch.float64), F.one_hot(torch.arange(20) % 3).double()
    torch.testing.assert_close(model.images, share * eye + (1 - share) * eye[partners])
    soft = share * labels + (1 - share) * labels[partners]
    torch.testing.assert_close(total, F.cross_entropy(model(model.images), soft))


def test_mixup_is_seeded() -> None:
    assert mixed(3)[:2] == mixed(3)[:2]
    assert mixed(3)[0] != mixed(4)[0]
    assert mixed(3)[1] != mixed(4)[1]


@pytest.mark.parametrize("alpha", [0.01, 0.2, 1.0, 3.0, 50.0])
def test_mixups_share_is_beta_distributed(alpha: float) -> None:
    generator = seeded(7)
    shares = torch.tensor([symmetric_beta(alpha, generator) for _ in range(3000)], dtype=torch.float64)
    low = shares[shares < 0.5]  # a share near 1 may round to 1, so that only the lower half is exact for a small alpha
    assert stats.binomtest(len(low), len(shares)).pvalue > 1e-3
    assert stats.kstest(low.numpy(), lambda share: 2 * stats.beta.cdf(share, alpha, alpha)).pvalue > 1e-3


def test_metrics_of_an_objective_without_logits() -> None:
    window = Window()
    window.add(measured(LossTerms(torch.tensor(2.0), {"mixed_loss": torch.tensor(2.0)}, {}), torch.tensor([0, 2])), 2)
    line = window.close(World(0, 1, torch.device("cpu")))
    assert line.keys() == {"loss", "mixed_loss", "images_per_second"}
    assert summary(line).startswith("loss 2.000")


def test_by_default_every_fraction_is_as_likely() -> None:
    assert Mixup().alpha == 1.0
