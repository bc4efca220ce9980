"""What is refused, and in which words."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor

from logitpair import InputError
from logitpair.validate import at_least, check_batch, check_labels, check_logits, check_seed, positive, warn_if_probabilities, whole

X, Y = torch.rand(3, 1, 4, 4), torch.tensor([0, 1, 2])


def changed(value: float) -> Tensor:
    x = X.clone()
    x[1, 0, 2, 3] = value
    return x


@pytest.mark.parametrize(
    ("x", "y", "said"),
    [
        ((X * 255).byte(), Y, "x: .*uint8.*255"),
        (X.half(), Y, "x: .*float16"),
        (X[0], Y, r"x: .*\[1, 4, 4\]"),
        (changed(float("nan")), Y, "x: .*NaN"),
        (changed(float("inf")), Y, "x: .*inf"),
        (changed(-0.01), Y, "x: .*-0.01"),
        (changed(1.01), Y, r"x: .*1\.01"),
        (X, Y[:2], r"y: .*\[3\].*\[2\]"),
        (X, Y[:, None], r"y: .*\[3, 1\]"),
        (X, Y.float(), "y: .*float32"),
        (X, Y.int(), "y: .*int32"),
        (X.to_sparse(), Y, "^x must be a tensor of images, dense, not sparse_coo$"),
        (X.to_mkldnn(), Y, "^x must be .*, dense, not _mkldnn$"),
        (X.to("meta"), Y, "^x must be .*, dense, not on the meta device, without values$"),
        (X, Y.to_sparse(), "^y must be a tensor of labels, dense, not sparse_coo$"),
    ],
)
def test_bad_batches_are_refused_in_one_line(x: Tensor, y: Tensor, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        check_batch(x, y)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_good_batches_pass(dtype: torch.dtype) -> None:
    check_batch(X.to(dtype), Y)
    check_batch(torch.tensor([0.0, 1.0]).view(2, 1, 1, 1), Y[:2])
    check_batch(X[:0], Y[:0])


@pytest.mark.parametrize("labels", [[0, 3], [-1, 0], [-100, 0], [7, 8]])
def test_labels_outside_the_classes_are_refused(labels: list[int]) -> None:
    with pytest.raises(InputError, match=r"0\.\.2 .*3 classes"):
        check_labels(torch.tensor(labels), 3)


def test_labels_of_the_classes_pass() -> None:
    check_labels(torch.tensor([0, 2]), 3)
    check_labels(Y[:0], 3)


@pytest.mark.parametrize(
    "logits",
    [torch.zeros(3), torch.zeros(2, 5), torch.zeros(3, 1), torch.zeros(3, 5, 1), torch.zeros(3, 5).long(), (torch.zeros(3, 5),), None],
)
def test_what_is_not_logits_is_refused(logits: object) -> None:
    with pytest.raises(InputError, match="model: must return logits"):
        check_logits(logits, X)


def test_logits_come_back_in_the_images_dtype() -> None:
    assert check_logits(torch.zeros(3, 5, dtype=torch.bfloat16), X).dtype == torch.float32
    assert check_logits(torch.zeros(3, 5), X.double()).dtype == torch.float64


def test_probabilities_are_warned_about_and_logits_are_not() -> None:
    with pytest.warns(UserWarning, match="probabilities"):
        assert warn_if_probabilities(torch.randn(4, 3).softmax(1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not warn_if_probabilities(torch.randn(4, 3))
        assert not warn_if_probabilities(torch.rand(4, 3) + 1)
        assert not warn_if_probabilities(torch.randn(4, 3).log_softmax(1))
        assert not warn_if_probabilities(torch.zeros(0, 3))


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_positive_refuses(value: float) -> None:
    with pytest.raises(InputError, match="step_size"):
        positive("step_size", value)


@pytest.mark.parametrize("value", [0.99, float("nan"), float("inf")])
def test_at_least_refuses(value: float) -> None:
    with pytest.raises(InputError, match="steps"):
        at_least("steps", value, 1)


@pytest.mark.parametrize("value", [0, 1.5, 2.0, np.float64(3), torch.tensor(1.0), float("nan"), float("inf"), float("-inf")])
def test_whole_refuses(value: float, no_shape_checks: None) -> None:
    with pytest.raises(InputError, match="classes must be a whole number of at least 1, not"):
        whole("classes", value, 1)


def test_numbers_in_range_pass(no_shape_checks: None) -> None:
    for value in (1, np.int64(1), torch.tensor(1)):
        whole("classes", value, 1)
    whole("seed", -5)
    positive("step_size", 1e-9)
    at_least("steps", 1, 1)


@pytest.mark.parametrize("value", ["8/255", None, [1], torch.ones(2), True, Fraction(8, 255)])
def test_what_is_no_number_is_refused(value: object, no_shape_checks: None) -> None:
    for check in (lambda: positive("eps", value), lambda: at_least("eps", value, 0), lambda: whole("eps", value, 1)):
        with pytest.raises(InputError, match="eps must be a number, not "):
            check()


def test_seeds_are_those_that_generators_take() -> None:
    for seed in (0, 2**63 - 1):
        check_seed("seed", seed)
        torch.manual_seed(seed)
    for seed, said in ((-1, "seed must be a whole number of at least 0, not -1"), (10**19, r"seed must be below 2\^63, not 1")):
        with pytest.raises(InputError, match=said):
            check_seed("seed", seed)


@dataclass
class Output:
    """As libraries wrap what a network returns."""

    logits: Tensor


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (torch.rand(3, 1), r"float32 \[3, 1\]; for one logit z of two classes return torch.cat\(\[torch.zeros_like\(z\), z\], 1\)"),
        (torch.rand(3), r"float32 \[3\]; for one logit z"),
        ((torch.rand(3, 4), torch.rand(3, 4)), r"tuple; wrap it in a module that returns one part, such as \[0\]"),
        ({"out": torch.rand(3, 4)}, r"dict; .* such as \['out'\]"),
        (Output(torch.rand(3, 4)), r"Output; .* returns its \.logits"),
        (torch.zeros(3).long(), "not int64 .3.; return logits, not the numbers of classes$"),
        (None, "not NoneType$"),
        (torch.rand(4, 4), r"not float32 \[4, 4\]$"),
    ],
)
def test_networks_that_return_something_else_are_told_what_to_return(returned: object, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        check_logits(returned, X)
    assert len(str(caught.value).splitlines()) == 1
