"""The clock that work on a device is timed by."""

import time

import torch


def now(device: torch.device) -> float:
    """Seconds on a clock that only moves on, once the device has done what it was given: a GPU works on while the host goes ahead."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
