"""The devices that a test runs on: cases for a GPU are made only where one is, and ``contract/test_gpu.py`` shows where they are not."""

from __future__ import annotations

import pytest
import torch

GPU = torch.cuda.is_available()
devices = pytest.mark.parametrize("device", ["cpu", "cuda"] if GPU else ["cpu"])
