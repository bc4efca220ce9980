"""Images of the gallery as PNG data URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from logitpair.report.records.audit import Audit
from logitpair.report.records.evaluation import Evaluation
from logitpair.report.records.gallery import Example, Images

LARGEST = 224  # pixels a side; a page of larger images would weigh tens of megabytes
_MORE, _LESS = np.array([[214, 69, 65], [46, 111, 222]], np.uint8)  # what the attack brightened, what it darkened


@dataclass(frozen=True)
class Triple:
    """An image, its attacked version and what was changed, each as a data URI; classes by name."""

    clean: str
    adversarial: str
    difference: str
    true: str
    before: str
    after: str
    outcome: str  # "wrong before", "fooled" or "held"


@dataclass(frozen=True)
class Gallery:
    """The triples, how much their differences are amplified, and whether the images have colour."""

    triples: tuple[Triple, ...]
    amplified: str
    colour: bool


def gallery(results: Evaluation | Audit) -> Gallery | None:
    """The images of an evaluation or an audit; None without a ledger."""
    examples = results.gallery
    if not examples:
        return None
    largest = _largest_change(examples)
    amplified = f"{1 / largest:.0f}" if largest < 0.1 else f"{1 / largest:.2g}"
    triples = tuple(_triple(example, results.class_names, largest) for example in examples)
    return Gallery(triples, amplified, len(examples[0].clean) > 1)


def _largest_change(examples: Sequence[Example]) -> float:
    largest = max(float(np.abs(example.adversarial - example.clean).max()) for example in examples)
    return largest or 1.0


def _triple(example: Example, names: Sequence[str], largest: float) -> Triple:
    outcome = "wrong before" if example.before != example.true else "fooled" if example.after != example.true else "held"
    return Triple(
        clean=_uri(_picture(example.clean)),
        adversarial=_uri(_picture(example.adversarial)),
        difference=_uri(_difference((example.adversarial - example.clean) / largest)),
        true=names[example.true],
        before=_answer(example.before, names),
        after=_answer(example.after, names),
        outcome=outcome,
    )


def _answer(label: int | None, names: Sequence[str]) -> str:
    return "no answer" if label is None else names[label]


def _picture(image: Images) -> Image.Image:
    pixels = _bytes(image)
    picture = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels[:3].transpose(1, 2, 0))
    picture.thumbnail((LARGEST, LARGEST), Image.Resampling.BOX)
    return picture


def _difference(change: Images) -> Image.Image:
    """The change in [-1, 1]: red and blue on nothing for grey images, around middle grey for colour."""
    if len(change) == 1:
        colours = np.where(change[0][..., None] > 0, _MORE, _LESS)
        pixels = np.concatenate([colours, _bytes(np.abs(change[0]))[..., None]], axis=-1)
    else:
        pixels = _bytes(0.5 + change[:3] / 2).transpose(1, 2, 0)
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((LARGEST, LARGEST), Image.Resampling.NEAREST)  # averaging would wash the noise out
    return picture


def _bytes(image: Images) -> NDArray[np.uint8]:
    return (np.clip(image, 0, 1) * 255).round().astype(np.uint8)


def _uri(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
