"""One skip for all cases of the contract that a machine without a GPU leaves out."""

from __future__ import annotations

import devices
import pytest
import torch


@pytest.mark.skipif(not devices.GPU, reason="no GPU: the contract's cases on one are left out")
def test_the_contract_is_checked_on_a_gpu_too() -> None:
    assert torch.ones(1, device="cuda").item() == 1
