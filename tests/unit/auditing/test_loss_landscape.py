"""The plane around an image that its loss landscape is of."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import logitpair as lp
from logitpair.auditing import loss_landscape
from logitpair.auditing.search import AuditContext, survey
from logitpair.evaluation.resumable import Execution
from logitpair.runtime.distributed import ALONE


class Watched(nn.Module):
    """Says how bright the left half is against the right one, and keeps what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.detach().clone())
        return torch.stack([x[..., :4].mean((1, 2, 3)), x[..., 4:].mean((1, 2, 3))], 1)


@pytest.mark.parametrize("threat", [lp.Linf(0.1), lp.L2(0.5)])
def test_both_of_its_directions_reach_to_eps_in_the_balls_own_norm(threat: lp.Linf | lp.L2) -> None:
    model, x = Watched(), torch.full((2, 1, 8, 8), 0.5)
    data, how = (x, torch.zeros(2, dtype=torch.int64)), Execution(torch.device("cpu"), 2, 0, ALONE, progress=False)
    context = AuditContext(model=model, data=data, threat=threat, seed=0, dtype=torch.float32, folder=None, cache_key="", how=how)
    ledger, _ = survey(context, 2, None, {})
    model.seen.clear()
    loss_landscape.loss_landscapes(context, ledger)
    rows = torch.stack(model.seen[1:]).view(-1, loss_landscape.GRID, 2, 1, 8, 8)  # [rows, columns, images, ...]
    middle = loss_landscape.GRID // 2
    for points in (rows[0, middle], rows[-1, middle], rows[middle, 0], rows[middle, -1]):
        torch.testing.assert_close(threat.distance(points, x), torch.full((2,), threat.eps))
