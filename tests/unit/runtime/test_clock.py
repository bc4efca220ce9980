"""The clock waits for a GPU."""

from __future__ import annotations

import time
from unittest.mock import Mock

import pytest
import torch

from logitpair.runtime import clock


@pytest.mark.parametrize(("device", "waits"), [("cpu", False), ("cuda:1", True)])
def test_it_is_read_when_the_device_is_done(device: str, waits: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    done = Mock()
    monkeypatch.setattr(torch.cuda, "synchronize", done)
    began = time.perf_counter()
    assert began <= clock.now(torch.device(device)) <= time.perf_counter()
    assert [call.args for call in done.call_args_list] == ([(torch.device(device),)] if waits else [])
