"""Networks for foolbox and ART give the logits that they give here."""

from __future__ import annotations

import sys
import warnings

import pytest
import torch
from torch import Tensor, nn

import logitpair as lp
from logitpair import InputError


def test_foolbox_sees_the_same_logits(trained: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    pytest.importorskip("foolbox")
    wrapped = lp.as_foolbox(trained.train())
    assert wrapped.bounds == (0, 1)
    assert not trained.training
    assert torch.equal(wrapped(digits[0][:5]), trained(digits[0][:5]))


def test_art_sees_the_same_logits_and_clips_to_the_box(trained: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    pytest.importorskip("art")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrapped = lp.as_art(trained, (1, 8, 8))
        logits = wrapped.predict(digits[0][:5].numpy())
    assert (wrapped.nb_classes, wrapped.input_shape, wrapped.clip_values.tolist()) == (10, (1, 8, 8), [0, 1])
    torch.testing.assert_close(torch.from_numpy(logits), trained(digits[0][:5]))


def test_an_absent_library_is_one_line_that_names_the_extra(trained: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("foolbox.models.pytorch", "art.estimators.classification"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match=r"pip install 'logitpair\[foolbox\]'$"):
        lp.as_foolbox(trained)
    with pytest.raises(InputError, match=r"pip install 'logitpair\[art\]'$"):
        lp.as_art(trained, (1, 8, 8))
