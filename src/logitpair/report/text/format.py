"""Numbers and settings as people read them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import PurePath
from typing import Any

import yaml
from msgspec import Struct
from msgspec.structs import asdict

from logitpair.evaluation import confidence
from logitpair.storage.results import Accuracy, EvaluationResults

LINF = "Linf"  # the class of the threat model whose radius is of single pixels


def percent(fraction: float) -> str:
    """0.6555 as ``65.5%``, without rounding what is below 100% up to it."""
    return f"{confidence.percent(fraction, 1)}%"


def span(bounds: tuple[float, float]) -> str:
    """Two fractions as ``61.0 - 69.8``, in percent and with an en dash."""
    return f"{100 * bounds[0]:.1f} \N{EN DASH} {100 * bounds[1]:.1f}"


def interval(accuracy: Accuracy) -> str:
    """The 95% interval of an accuracy as ``61.0 - 69.8%``."""
    return f"{span(accuracy.ci95)}%"


def radius(eps: float) -> str:
    """0.2 as ``0.2``, 0.0313725 as ``8/255``."""
    decimal = f"{eps:.3g}"
    levels = round(eps * 255, 3)
    return f"{levels:g}/255" if abs(float(decimal) - eps) > 1e-9 and levels in range(1, 256) else decimal


def exact(number: float) -> str:
    """As ``radius`` where that is exact, else with all digits: what can be given to an option."""
    short = radius(number)
    return short if float(Fraction(short)) == number else repr(number)


def duration(seconds: float) -> str:
    """Seconds as ``8 s``, ``12 min`` or ``3.5 h``."""
    if seconds < 120:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def listing(words: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def pairs(values: Mapping[str, Any] | Struct | None) -> str:
    """``device cpu · threads 2``, without what is absent."""
    known = (asdict(values) if isinstance(values, Struct) else values or {}).items()
    return " \N{MIDDLE DOT} ".join(f"{key} {value}" for key, value in known if value is not None)


def call(value: Any) -> str:
    """Settings as the Python call that they describe: ``PGD(threat=Linf(eps=0.2), steps=40)``."""
    if isinstance(value, Mapping):
        inside = ", ".join(f"{key}={call(argument)}" for key, argument in arguments(value).items())
        return f"{class_name(value) or ''}({inside})"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(call, value))}]"
    if isinstance(value, float):
        return f"{value:.6g}"
    return value.rsplit(".", 1)[-1] if isinstance(value, str) and value.startswith("logitpair.") else str(value)


def arguments(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """The arguments of the class that a setting names, or the setting itself where it names none."""
    return (value.get("init_args") or {}) if "class_path" in value else value


def class_name(value: Any) -> str | None:
    """The class a setting names, without its module."""
    return str(value["class_path"]).rsplit(".", 1)[-1] if isinstance(value, Mapping) and "class_path" in value else None


def settings_text(settings: Mapping[str, Any]) -> str:
    """Settings as YAML; of an absolute path only the name is shown."""
    return yaml.safe_dump(_portable(settings), sort_keys=False, allow_unicode=True)


def point_text(settings: Mapping[str, Any]) -> str:
    """A point of a sweep as ``objective.weight = 0.5, epochs = 10``."""
    return ", ".join(f"{setting} = {value_text(value)}" for setting, value in settings.items())


def value_text(value: Any) -> str:
    """A setting's value at a point of a sweep: ``0.5``, ``8/255``, ``PGD(steps=40)``."""
    return exact(value) if isinstance(value, float) and math.isfinite(value) else call(value)


@dataclass(frozen=True)
class Ball:
    """A threat model as texts name it: its radius, and its norm by its class where that is not ``Linf``."""

    eps: float
    norm: str = LINF

    def __str__(self) -> str:
        """``8/255``, ``0.5 in L2``."""
        return self.radius if self.norm == LINF else f"{self.radius} in {self.norm}"

    @property
    def radius(self) -> str:
        """``8/255`` where it is of a pixel, ``0.5`` elsewhere."""
        return radius(self.eps) if self.norm == LINF else f"{self.eps:.3g}"

    @staticmethod
    def of(threat: Any) -> "Ball | None":
        """That of a threat model's settings, where it has a radius."""
        eps = arguments(threat).get("eps") if isinstance(threat, Mapping) else None
        return Ball(float(eps), class_name(threat) or LINF) if isinstance(eps, int | float) else None


def balls(evaluation: EvaluationResults) -> list[Ball]:
    """Those of the white-box attacks, without repetition."""
    found = [Ball.of(arguments(attack).get("threat")) for attack in evaluation.parameters.values()]
    return list(dict.fromkeys(ball for ball in found if ball is not None))


def curve_norm(evaluation: EvaluationResults) -> str:
    """The norm of the radii of the curve, which is of the first attack."""
    return next((ball.norm for ball in balls(evaluation)), LINF)


def change_within(some: Sequence[Ball]) -> str:
    """``when each pixel may be changed by up to 8/255``, ``when an image may be changed by up to 0.5 in L2``."""
    what = "each pixel" if all(ball.norm == LINF for ball in some) else "an image"
    return f"when {what} may be changed by up to {listing([str(ball) for ball in some])}"


def _portable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _portable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_portable(item) for item in value]
    if isinstance(value, str) and PurePath(value).is_absolute():
        return f"\N{HORIZONTAL ELLIPSIS}/{PurePath(value).name}"
    return value
