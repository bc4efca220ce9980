"""Numbers and settings as people read them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import yaml


def percent(fraction: float) -> str:
    """0.6555 as ``65.5%``, without rounding what is below 100% up to it."""
    value = 100 * fraction
    return f"{min(value, 99.9) if value < 100 else 100:.1f}%"


def whole_percent(fraction: float) -> str:
    """0.655 as ``66%``, along an axis."""
    return f"{100 * fraction:.0f}%"


def interval(low: float, high: float) -> str:
    """Two fractions as ``61.0 - 69.8%``, with an en dash."""
    return f"{100 * low:.1f} \N{EN DASH} {100 * high:.1f}%"


def radius(eps: float) -> str:
    """0.2 as ``0.2``, 0.0313725 as ``8/255``."""
    decimal = f"{eps:.3g}"
    levels = round(eps * 255, 3)
    return f"{levels:g}/255" if abs(float(decimal) - eps) > 1e-9 and levels == round(levels) else decimal


def duration(seconds: float) -> str:
    """Seconds as ``8 s``, ``12 min`` or ``3.5 h``."""
    if seconds < 120:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def listing(words: list[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def call(value: Any) -> str:
    """Settings as the Python call they stand for: ``PGD(threat=Linf(eps=0.2), steps=40)``."""
    if isinstance(value, Mapping):
        inside = ", ".join(f"{key}={call(part)}" for key, part in arguments(value).items())
        return f"{class_name(value) or ''}({inside})"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(call, value))}]"
    if isinstance(value, float):
        return f"{value:.6g}"
    return _last(value) if isinstance(value, str) and value.startswith("logitpair.") else str(value)


def arguments(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """The arguments of the class that a setting names, or the setting itself where it names none."""
    return (value.get("init_args") or {}) if "class_path" in value else value


def class_name(value: Any) -> str | None:
    """The class a setting names, without its module."""
    return _last(str(value["class_path"])) if isinstance(value, Mapping) and "class_path" in value else None


def settings_text(settings: Mapping[str, Any]) -> str:
    """Settings as YAML; of a folder of this machine only the name is told."""
    return yaml.safe_dump(_portable(settings), sort_keys=False, allow_unicode=True)


def reason(error: Exception) -> str:
    """The error in one line."""
    text = (str(error).splitlines() or [type(error).__name__])[0]
    return f"no {text}" if isinstance(error, KeyError) else text


def _last(path: str) -> str:
    return path.rsplit(".", 1)[-1]


def _portable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _portable(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_portable(part) for part in value]
    if isinstance(value, str) and PurePath(value).is_absolute():
        return f"\N{HORIZONTAL ELLIPSIS}/{PurePath(value).name}"
    return value
