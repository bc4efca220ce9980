"""Batches and selections of examples."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from logitpair import InputError, data

CPU = torch.device("cpu")


def test_batches_of_all_kinds_of_data_agree() -> None:
    images = data.Digits().validation()
    x, y = images.images, images.labels
    kinds = [(x, y), images, TensorDataset(x, y), DataLoader(TensorDataset(x, y), batch_size=40), (x.float() / 255, y)]
    for kind in kinds:
        found = list(data.batches(kind, 40, CPU))
        assert [len(labels) for _, labels in found] == [40, 40, 40, 30]
        torch.testing.assert_close(torch.cat([pixels for pixels, _ in found]), x.float() / 255)
        assert torch.equal(torch.cat([labels for _, labels in found]), y)


def test_float64_pixels_stay_float64() -> None:
    assert data.to_pixels(torch.rand(2, 1, 2, 2, dtype=torch.float64), CPU).dtype == torch.float64


def test_uint8_images_of_zeros_and_ones_are_warned_of() -> None:
    bits, y = torch.eye(4, dtype=torch.uint8).view(4, 1, 2, 2), torch.zeros(4, dtype=torch.int64)
    with pytest.warns(UserWarning, match="^x: uint8 images hold no value but 0 and 1 and are nearly black.*give them as floats") as warned:
        list(data.batches((bits, y), 2, CPU))
    assert len(warned) == 1
    for images in (bits.float(), 255 * bits, 0 * bits):
        list(data.batches((images, y), 2, CPU))


def test_first_takes_the_first() -> None:
    images = data.Digits().validation()
    assert len(data.first(images, 7)) == 7
    assert torch.equal(data.first(images, 7)[6][0], images[6][0])
    assert len(data.first((images.images, images.labels), 7)[1]) == 7
    assert len(data.first(images, 10_000)) == 150
    assert data.first(images, None) is images
    with pytest.raises(InputError, match="DataLoader"):
        data.first(DataLoader(images), 7)


def test_data_of_unequal_length_are_refused(conv: torch.nn.Module) -> None:
    import logitpair as lp

    attacks = {"pgd": lp.attacks.PGD(lp.Linf(0.1), step_size=0.1, steps=1)}
    for images, labels in ((5, 3), (12, 7), (7, 12)):
        with pytest.raises(InputError, match="y"):
            lp.evaluate(conv, (torch.rand(images, 1, 8, 8), torch.zeros(labels).long()), attacks=attacks, batch_size=6, progress=False)
