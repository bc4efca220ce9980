"""What a result was computed with: versions and hardware."""

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch


def versions() -> dict[str, str]:
    """Versions of what a number depends on."""
    return {
        "logitpair": version("logitpair"),
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
    }


def hardware(device: torch.device) -> dict[str, Any]:
    """The device by name; for a CPU the threads used and the vector instructions PyTorch found."""
    if device.type == "cuda":
        return {"device": str(device), "name": torch.cuda.get_device_name(device), "count": torch.cuda.device_count()}
    return {
        "device": str(device),
        "name": _cpu_name(),
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
    }


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
