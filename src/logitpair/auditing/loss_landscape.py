"""The loss around a few images, from which its landscape is drawn."""

import numpy as np
import torch

from logitpair import losses
from logitpair.attacks.base import gradient_of
from logitpair.auditing.audit_ledger import AuditLedger
from logitpair.auditing.search import AuditContext
from logitpair.models.inference import compute_logits
from logitpair.rng import ExampleStreams, derive_seed, uniform_like
from logitpair.threat import signs

IMAGES = 3  # images whose surroundings are drawn
GRID = 25  # points a side


def loss_landscapes(context: AuditContext, ledger: AuditLedger) -> dict[str, np.ndarray]:
    """The margin on a plane around the first images that are right unperturbed, ``surface/margin`` ``[images, rows, columns]``.

    Columns go along the steepest ascent of the cross-entropy (in L-infinity the sign of its gradient) and rows along random signs, both
    from -eps to eps in the ball's own norm, clipped to the box; ``surface/position`` says which images they are. Nothing where the model
    is never right.

    Source: Mosbach et al. 2018, arXiv 1810.12042, section 3.
    """
    positions = np.flatnonzero(ledger.clean_correct)[:IMAGES]
    if not len(positions):
        return {}
    model, threat = context.model, context.threat
    x, y = context.images(positions)
    inputs = x.clone().requires_grad_()
    with torch.enable_grad():
        gradient = gradient_of(losses.cross_entropy(compute_logits(model, inputs), y).sum(), inputs)
    ascent = threat.ascent(gradient)
    streams = ExampleStreams(derive_seed(context.seed, "surface"), torch.from_numpy(positions))
    across = threat.ascent(-signs(uniform_like(x, streams)))
    steps = torch.linspace(-threat.eps, threat.eps, GRID, dtype=x.dtype, device=x.device)

    def margins(row: torch.Tensor) -> torch.Tensor:
        points = (x + row * across + steps.view(-1, 1, 1, 1, 1) * ascent).clamp(0, 1)  # [columns, images, channels, height, width]
        return losses.margin(compute_logits(model, points.flatten(0, 1)), y.repeat(len(steps))).view(len(steps), -1).T

    surface = torch.stack([margins(row) for row in steps], dim=1)
    return {"surface/margin": surface.double().cpu().numpy(), "surface/position": positions}
