"""The first images of a ledger: each clean, under attack, and what the attack changed."""

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from logitpair.report.pages.elements import figure, tag
from logitpair.report.text.format import Ball, listing
from logitpair.storage.result_files import Ledger
from logitpair.storage.results import NO_CLASS

LARGEST = 224  # pixels a side; a page of larger images would weigh tens of megabytes
_BRIGHTER, _DARKER = np.array([[214, 69, 65], [46, 111, 222]], np.uint8)
Images = NDArray[np.floating[Any]]


def gallery(
    title: str, ledger: Ledger, images: str, prediction: str, class_names: Sequence[str], attack: str, balls: Sequence[Ball]
) -> list[Markup]:
    """A card an image, from the columns of the ``images`` under attack and of the ``prediction`` for them; none without the columns."""
    if "gallery/x" not in ledger or images not in ledger:
        return []
    clean, adversarial, names = ledger["gallery/x"], ledger[images], [*class_names, "no answer"]
    change = adversarial - clean
    largest = float(np.abs(change).max()) or 1.0
    amplified = f"{1 / largest:.0f}" if largest < 0.1 else f"{1 / largest:.2g}"
    cards: list[Markup] = []
    labels = zip(ledger["y"], ledger["clean/prediction"], ledger[prediction], strict=True)
    for x, x_adv, delta, known in zip(clean, adversarial, change / largest, labels, strict=False):  # the first rows of the ledger
        true, before, after = (-1 if label == NO_CLASS else int(label) for label in known)
        outcome = "wrong before" if before != true else "fooled" if after != true else "robust"
        three = [
            _image(_picture(x), f"Clean image of {names[true]}", names[before]),
            _image(_picture(x_adv), "The same image under attack", names[after]),
            _image(_difference(delta), "What the attack changed, amplified", f"\N{MULTIPLICATION SIGN}{amplified}"),
        ]
        heading = tag("p", tag("span", "true: ", tag("b", names[true])), tag("em", outcome))
        cards.append(tag("li", heading, tag("div", *three), class_=outcome.replace(" ", "-")))
    note = (
        f"Each card: the image, the image under {attack}{f' at eps = {listing([str(ball) for ball in balls])}' if balls else ''}, and the "
        f"change amplified {amplified} times ({'grey: unchanged' if clean.shape[1] > 1 else 'red: brighter, blue: darker'}). Below an "
        "image is what the network takes it for."
    )
    return [figure(title, tag("ul", *cards, tabindex=0), note=note, style="gallery")]


def _image(picture: Image.Image, alternative: str, caption: str) -> Markup:
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    source = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    return tag("figure", Markup('<img src="{}" alt="{}">').format(source, alternative), tag("figcaption", caption))


def _picture(image: Images) -> Image.Image:
    pixels = _bytes(image)
    picture = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels[:3].transpose(1, 2, 0))
    picture.thumbnail((LARGEST, LARGEST), Image.Resampling.BOX)
    return picture


def _difference(change: Images) -> Image.Image:
    """The change in [-1, 1]: red and blue on nothing for grey images, around middle grey for colour."""
    if len(change) == 1:
        colours = np.where(change[0][..., None] > 0, _BRIGHTER, _DARKER)
        pixels = np.concatenate([colours, _bytes(np.abs(change[0]))[..., None]], axis=-1)
    else:
        pixels = _bytes(0.5 + change[:3] / 2).transpose(1, 2, 0)
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((LARGEST, LARGEST), Image.Resampling.NEAREST)  # averaging would wash the noise out
    return picture


def _bytes(image: Images) -> NDArray[np.uint8]:
    return (np.clip(image, 0, 1) * 255).round().astype(np.uint8)
