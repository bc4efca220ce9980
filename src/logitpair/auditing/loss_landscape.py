"""What the pictures of the loss around an image are drawn from."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from logitpair import losses
from logitpair.attacks.base import gradient_of
from logitpair.auditing.audit_ledger import WRONG_BEFORE
from logitpair.auditing.search import AuditContext
from logitpair.data import batches, select
from logitpair.models.inference import compute_logits
from logitpair.rng import ExampleStreams, derive_seed, uniform_like

PICTURES = 3  # images whose surroundings are drawn
GRID = 25  # points a side


def surfaces(quarry: AuditContext, broken_by: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """The margin on a plane around the first images that are right unperturbed, ``surface/margin`` ``[images, rows, columns]``.

    Columns go along the sign of the gradient of the cross-entropy and rows along random signs, both from -eps to eps, clipped to the
    box; ``surface/position`` says which images they are.

    Source: Mosbach et al. 2018, arXiv 1810.12042, section 3.
    """
    positions = np.flatnonzero(broken_by != WRONG_BEFORE)[:PICTURES]
    if not len(positions):
        return {}
    x, y = next(iter(batches(select(quarry.data, positions.tolist()), len(positions), quarry.device)))
    inputs = x.clone().requires_grad_()
    with torch.enable_grad():
        gradient = gradient_of(losses.cross_entropy(compute_logits(quarry.model, inputs), y).sum(), inputs)
    ahead = quarry.threat.ascent(gradient)
    random = (uniform_like(x, ExampleStreams(derive_seed(seed, "surface"), torch.from_numpy(positions))) < 0.5).to(x.dtype) * 2 - 1
    steps = torch.linspace(-quarry.threat.eps, quarry.threat.eps, GRID, dtype=x.dtype, device=x.device)
    found = [_row(quarry, x, y, row * random, ahead, steps) for row in steps]
    return {"surface/margin": torch.stack(found, dim=1).double().cpu().numpy(), "surface/position": positions}


def _row(quarry: AuditContext, x: Tensor, y: Tensor, offset: Tensor, ahead: Tensor, steps: Tensor) -> Tensor:
    return torch.stack([losses.margin(compute_logits(quarry.model, (x + offset + step * ahead).clamp(0, 1)), y) for step in steps], dim=1)
