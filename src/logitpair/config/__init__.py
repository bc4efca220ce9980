"""The settings of a run. ``RunConfig`` comes on first use, so that recipes can be listed without PyTorch."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from logitpair.config.run_config import RunConfig

__all__ = ["RunConfig"]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name != "RunConfig":
            raise AttributeError(f"module 'logitpair.config' has no attribute '{name}'")
        from logitpair.config import run_config

        return run_config.RunConfig
