"""The digits of scikit-learn."""

from __future__ import annotations

import torch
from torch import Tensor

from logitpair import data

CPU = torch.device("cpu")


def rows(images: Tensor) -> set[bytes]:
    return set(images.flatten(1).contiguous().numpy().view(f"V{images[0].numel()}").ravel().tolist())


def test_digits_splits_are_disjoint_and_sized() -> None:
    digits = data.Digits()
    splits = [digits.train(), digits.validation(), digits.test()]
    assert [len(split) for split in splits] == [1200, 150, 447]
    images = torch.cat([split.images for split in splits])
    labels = torch.cat([split.labels for split in splits])
    assert images.shape == (1797, 1, 8, 8)
    assert images.dtype == torch.uint8
    assert images.max() == 255
    assert torch.equal(labels.bincount(), torch.tensor([178, 182, 177, 183, 181, 182, 181, 179, 174, 180]))  # scikit-learn's counts
    train, validation, test = (rows(split.images) for split in splits)
    assert not train & test
    assert not train & validation
    assert not validation & test
    assert len(digits.classes) == 10


def test_digits_are_the_same_every_time_and_leave_the_global_random_state_alone() -> None:
    from logitpair.data.digits import _digits

    before, labels = torch.get_rng_state(), data.Digits().test().labels.clone()
    _digits.cache_clear()
    assert torch.equal(data.Digits().test().labels, labels)
    assert torch.equal(torch.get_rng_state(), before)
