"""Networks, data sets and attacks by the protocols of MAITE for image classification, which other tools of test and evaluation build on.

MAITE's protocols are structural, so that nothing of it is imported and it need not be installed (version 0.10).
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from logitpair.attacks import Attack
from logitpair.data import Data, batches, count, select
from logitpair.errors import InputError
from logitpair.models.inference import compute_logits, device_of, frozen_eval
from logitpair.rng import ExampleStreams
from logitpair.validate import check_batch

Batch = tuple[Sequence[ArrayLike], Sequence[ArrayLike], Sequence[Mapping[str, Any]]]


class MaiteModel:
    """A network as MAITE's ``Model``: a sequence of images ``[channels, height, width]`` in [0, 1] to one of probabilities ``[classes]``.

    Args:
        model: from images in [0, 1] to logits; it is run in eval mode and left as it was.
        id: what reports call it.
        classes: their names, in the order of the logits.
    """

    def __init__(self, model: nn.Module, id: str, classes: Sequence[str] = ()) -> None:
        self.model, self.metadata = model, _metadata(id, classes)

    def __call__(self, batch_input: Sequence[ArrayLike], /) -> list[NDArray[np.float32]]:
        """The probabilities of each image.

        Raises:
            InputError: for images that are not all of one shape, or not in [0, 1].
        """
        with torch.no_grad(), frozen_eval(self.model):
            return list(compute_logits(self.model, _stacked(batch_input, self.model)).softmax(1).float().cpu().numpy())


class MaiteDataset:
    """Examples as MAITE's ``Dataset``: image, one-hot target, and its position as ``id``.

    Args:
        data: as ``lp.evaluate`` takes it, but no ``DataLoader``, which has no order.
        id: what reports call it.
        classes: their names, in the order of the labels.

    Raises:
        InputError: for data without a length, and of an example whose label is none of the classes.
    """

    def __init__(self, data: Data, id: str, classes: Sequence[str]) -> None:
        examples = count(data)
        if examples is None:
            raise InputError("data: has no length; accepted: a tuple (x, y) or a Dataset that has one")
        self.data, self.examples, self.classes, self.metadata = data, examples, len(classes), _metadata(id, classes)

    def __len__(self) -> int:
        return self.examples

    def __getitem__(self, ind: int, /) -> tuple[NDArray[np.float32], NDArray[np.float32], dict[str, Any]]:
        position = range(self.examples)[ind]  # IndexError ends an iteration
        x, y = next(batches(select(self.data, [position]), 1, torch.device("cpu")))
        if not 0 <= int(y) < self.classes:  # an IndexError of the target would pass for the end
            raise InputError(f"data: label {int(y)} of example {position} is none of {self.classes} classes")
        return x[0].float().numpy(), np.eye(self.classes, dtype=np.float32)[int(y)], {"id": position}


class MaiteAttack:
    """An attack as MAITE's ``Augmentation``: images of a batch in, adversarial ones in their place.

    What it finds for an image depends on the ``id`` in its metadata and the seed, and not on the batch.

    Args:
        attack: any of ``lp.attacks``.
        model: what it attacks.
        id: what reports call it.
        seed: of its randomness.
    """

    def __init__(self, attack: Attack, model: nn.Module, id: str, seed: int = 0) -> None:
        self.attack, self.model, self.seed, self.metadata = attack, model, seed, _metadata(id, ())

    def __call__(self, batch: Batch, /) -> tuple[list[NDArray[np.float32]], Sequence[ArrayLike], Sequence[Mapping[str, Any]]]:
        """The batch with adversarial images; targets, whose largest value is the true class, and metadata are handed on.

        Raises:
            InputError: for images that are not all of one shape, and what the attack refuses.
        """
        images, targets, metadata = batch
        x = _stacked(images, self.model)
        y = torch.tensor([int(np.argmax(target)) for target in targets], device=x.device)
        streams = ExampleStreams(self.seed, torch.tensor([_position(datum["id"]) for datum in metadata]))
        return list(self.attack(self.model, x, y, generator=streams).cpu().numpy()), targets, metadata


def _metadata(id: str, classes: Sequence[str]) -> dict[str, Any]:
    return {"id": id} | ({"index2label": dict(enumerate(classes))} if classes else {})


def _stacked(images: Sequence[ArrayLike], model: nn.Module) -> Tensor:
    arrays = [np.asarray(image, np.float32) for image in images]
    if len(shapes := {array.shape for array in arrays}) != 1:
        raise InputError(f"batch: images of {len(shapes)} shapes; accepted: one or more, all of the same")
    x = torch.from_numpy(np.stack(arrays)).to(device_of(model))
    check_batch(x, torch.zeros(len(x), dtype=torch.int64, device=x.device))
    return x


def _position(id: Any) -> int:
    return int(id) if isinstance(id, int | np.integer) else int.from_bytes(hashlib.sha256(id.encode()).digest()[:7], "big")
