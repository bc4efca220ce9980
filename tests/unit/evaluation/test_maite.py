"""The wrappers for MAITE: what its protocols ask for, and the same numbers as without them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import logitpair as lp
from logitpair import InputError
from logitpair.evaluation.maite import MaiteAttack, MaiteDataset, MaiteModel

NAMES = [f"digit {number}" for number in range(10)]


@pytest.fixture
def dataset(digits: tuple[Tensor, Tensor]) -> MaiteDataset:
    return MaiteDataset((digits[0][:40], digits[1][:40]), "digits", NAMES)


def test_examples_are_image_one_hot_target_and_id(dataset: MaiteDataset, digits: tuple[Tensor, Tensor]) -> None:
    image, target, metadata = dataset[3]
    assert np.array_equal(image, digits[0][3].numpy())
    assert (target.argmax(), target.sum(), target.shape) == (digits[1][3], 1, (10,))
    assert metadata == {"id": 3}
    assert len(list(dataset)) == len(dataset) == 40, "iteration ends by IndexError"
    assert dataset.metadata == {"id": "digits", "index2label": dict(enumerate(NAMES))}


def test_predictions_are_the_networks_probabilities(dataset: MaiteDataset, trained: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    model = MaiteModel(trained.train(), "net", NAMES)
    predicted = model([dataset[i][0] for i in range(40)])
    assert trained.training
    torch.testing.assert_close(torch.from_numpy(np.stack(predicted)), trained.eval()(digits[0][:40]).softmax(1))
    assert model.metadata["id"] == "net"


@pytest.mark.parametrize("named", [int, str, np.int64])
def test_an_attack_breaks_as_many_as_in_an_evaluation_in_whichever_batches(
    dataset: MaiteDataset, trained: nn.Module, digits: tuple[Tensor, Tensor], named: type
) -> None:
    attack = lp.attacks.PGD(lp.Linf(0.1), step_size=0.05, steps=3)
    wrapped, model = MaiteAttack(attack, trained, "pgd"), MaiteModel(trained, "net")
    data = [(image, target, {"id": named(metadata["id"])}) for image, target, metadata in dataset]
    together, targets, metadata = wrapped(tuple(zip(*data, strict=True)))
    alone = [wrapped(([image], [target], [datum]))[0][0] for image, target, datum in data[:3]]
    np.testing.assert_allclose(alone, together[:3], atol=1e-6)
    assert metadata[7]["id"] == named(7)
    correct = sum(np.argmax(p) == np.argmax(target) for p, target in zip(model(together), targets, strict=True))
    record = lp.evaluate(trained, (digits[0][:40], digits[1][:40]), attacks={"pgd": attack}).record
    assert record.clean.correct > correct
    assert abs(correct - record.attacks["pgd"].correct) <= 2, "the random starts are others"


def test_what_makes_no_batch_and_has_no_order_is_refused(trained: nn.Module, dataset: MaiteDataset) -> None:
    for images in ([], [np.zeros((1, 8, 8)), np.zeros((1, 9, 9))]):
        with pytest.raises(InputError, match=f"^batch: images of {len(images)} shapes"):
            MaiteModel(trained, "net")(images)

    for image in (np.full((1, 8, 8), 255, np.uint8), np.full((1, 8, 8), np.nan)):
        with pytest.raises(InputError, match=r"^x: pixels must lie in \[0, 1\]"):
            MaiteModel(trained, "net")([image])
    for label in (10, -1):
        with pytest.raises(InputError, match=f"^data: label {label} of example 1 is none of 10 classes"):
            list(MaiteDataset((torch.zeros(2, 1, 8, 8), torch.tensor([1, label])), "digits", NAMES))

    class Endless(torch.utils.data.IterableDataset):
        def __iter__(self):
            yield torch.zeros(1, 8, 8), 0

    with pytest.raises(InputError, match="^data: has no length"):
        MaiteDataset(DataLoader(Endless()), "stream", NAMES)
