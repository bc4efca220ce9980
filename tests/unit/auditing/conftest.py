"""What the tests of audits share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def coarse_landscapes() -> Iterator[None]:
    """Landscapes of 5 x 5 points, which no test looks at closely, in place of hundreds of forward passes an audit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("logitpair.auditing.loss_landscape.GRID", 5)
        yield
