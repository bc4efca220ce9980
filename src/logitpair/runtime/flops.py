"""How many floating-point operations PyTorch does."""

from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class CountedFlops(TorchDispatchMode):
    """Counts PyTorch's operations (``calls``), and the floating-point operations of matrix products and convolutions (``total``).

    The formulas are PyTorch's. Its ``FlopCounterMode`` counts by module, and its hooks forbid ``torch.autograd.grad``, by which attacks
    work.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = self.calls = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """False, or the first operation would import all of ``torch._dynamo``, which takes two seconds."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        self.calls += 1
        if formula := flop_registry.get(func._overloadpacket):
            self.total += formula(*args, **kwargs, out_val=out)
        return out
