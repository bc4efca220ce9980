"""Batches and selections of examples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

import logitpair as lp
from logitpair import InputError, data
from logitpair.data.batching import batches, collate
from logitpair.validate import check_batch

CPU = torch.device("cpu")


def test_batches_of_all_kinds_of_data_agree() -> None:
    images = data.Digits().validation()
    x, y = images.images, images.labels
    subset = Subset(images, range(150))
    sets = [images, subset, Subset(subset, range(150)), TensorDataset(x, y)]
    kinds = [(x, y), (x.float() / 255, y), *sets, *(DataLoader(each, batch_size=40) for each in sets)]
    for kind in kinds:
        found = list(data.batches(kind, 40, CPU))
        assert [len(labels) for _, labels in found] == [40, 40, 40, 30]
        torch.testing.assert_close(torch.cat([pixels for pixels, _ in found]), x.float() / 255)
        assert torch.equal(torch.cat([labels for _, labels in found]), y)


@pytest.mark.parametrize("examples", [1, 2, 40])
def test_a_subset_by_tensors_is_read_as_one_by_numbers(examples: int) -> None:
    images, chosen = data.Digits().validation(), torch.randperm(150, generator=torch.Generator().manual_seed(0))[:examples]
    (x, y), (by_numbers, labels) = (next(data.batches(Subset(images, order), 40, CPU)) for order in (chosen, chosen.tolist()))  # type: ignore[arg-type]
    assert torch.equal(x, by_numbers)
    assert torch.equal(y, labels)


def test_float64_pixels_stay_float64() -> None:
    assert data.to_pixels(torch.rand(2, 1, 2, 2, dtype=torch.float64), CPU).dtype == torch.float64


def test_images_that_are_nearly_black_by_their_unit_are_warned_of() -> None:
    bits, y = torch.eye(4, dtype=torch.uint8).view(4, 1, 2, 2), torch.zeros(4, dtype=torch.int64)
    for images, said in ((bits, "uint8 images hold no value but 0 and 1"), (bits / 255, "images hold no value above 1/255")):
        with pytest.warns(UserWarning, match=f"^x: {said} and are nearly black; white is ") as warned:
            list(data.batches((images, y), 2, CPU))
        assert len(warned) == 1
    for images in (bits.float(), 2 * bits, 0 * bits, 2 * bits / 255, 0.0 * bits):
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


def test_a_stream_is_evaluated_and_its_examples_cannot_be_chosen(conv: torch.nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Iterator[Any]:
            return iter(zip(X, Y, strict=True))

    assert sum(len(y) for _, y in batches(Stream(), 2, CPU)) == 5
    for length in (None, 5):
        if length:
            monkeypatch.setattr(Stream, "__len__", lambda _: 5, raising=False)
        with pytest.raises(InputError, match="^examples: cannot cut a Stream short, .*; accepted: a Dataset with __len__"):
            data.first(Stream(), 2)
        with pytest.raises(InputError, match="^data: cannot choose examples of a Stream, an IterableDataset; accepted"):
            data.select(Stream(), [1])
        attacks = {"pgd": lp.attacks.PGD(lp.Linf(0.1), step_size=0.1, steps=1)}
        assert lp.evaluate(conv, Stream(), attacks=attacks, batch_size=2, progress=False).ledger["y"].tolist() == Y.tolist()


def test_data_of_unequal_length_are_refused(conv: torch.nn.Module) -> None:
    attacks = {"pgd": lp.attacks.PGD(lp.Linf(0.1), step_size=0.1, steps=1)}
    for images, labels in ((5, 3), (12, 7), (7, 12)):
        with pytest.raises(InputError, match="y"):
            lp.evaluate(conv, (torch.rand(images, 1, 8, 8), torch.zeros(labels).long()), attacks=attacks, batch_size=6, progress=False)


X, Y = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 1, 0])


class Examples(Dataset[Any]):
    """Five, each what a function makes of its position."""

    def __init__(self, make: Callable[[int], Any]) -> None:
        self.make = make

    def __len__(self) -> int:
        return 5

    def __getitem__(self, position: int) -> Any:
        return self.make(position)


@pytest.mark.parametrize("extra", ["a.png", None, 3])
@pytest.mark.parametrize("wrap", [lambda examples: examples, lambda examples: DataLoader(examples, 2, collate_fn=collate)])
def test_what_follows_image_and_label_is_left_out(extra: object, wrap: Callable[[Dataset[Any]], data.Data]) -> None:
    found = list(data.batches(wrap(Examples(lambda i: (X[i], int(Y[i]), extra))), 2, CPU))
    assert torch.equal(torch.cat([x for x, _ in found]), X)
    assert torch.equal(torch.cat([y for _, y in found]), Y)


UNREADABLE: dict[str, tuple[Callable[[int], Any], str]] = {
    "dict": (lambda i: {"image": X[i], "label": 0}, r"^data: each example must be a tuple \(image, label\), not a dict$"),
    "none": (lambda _: None, "^data: each example must be a tuple .*, not None$"),
    "image_alone": (lambda i: X[i], "^data: each example must be a tuple .*, not a Tensor$"),
    "text": (lambda i: (X[i], "cat"), "^y: must be integers, one for each image, not a .* of str$"),
    "no_label": (lambda i: (X[i], None), "^data: cannot make a batch of images a Tensor and labels None.*accepted"),
    "pil": (lambda _: (Image.new("L", (8, 8)), 0), "^data: cannot make a batch of images a Image and labels a int.*accepted"),
    "sizes": (lambda i: (X[i][:, : i + 1], 0), "^data: cannot make a batch of images a Tensor.*equal size.*accepted"),
    "sparse": (lambda i: (X[i].to_sparse(), 0), "^data: cannot make a batch of images a Tensor and labels a int: .*sparse.*accepted"),
    "one_hot": (lambda i: (X[i], torch.eye(3)[0]), "^y: labels must be integers, not float32$"),
}


@pytest.mark.parametrize("what", UNREADABLE)
def test_examples_that_are_no_images_and_labels_are_refused_in_one_line(what: str, conv: torch.nn.Module) -> None:
    make, said = UNREADABLE[what]
    attacks = {"pgd": lp.attacks.PGD(lp.Linf(0.1), step_size=0.1, steps=1)}
    with pytest.raises(InputError, match=said) as caught:
        lp.evaluate(conv, Examples(make), attacks=attacks, batch_size=5, progress=False)
    assert len(str(caught.value).splitlines()) == 1


def test_a_worker_process_and_a_loader_of_ones_own_say_it_in_one_line_too() -> None:
    pictures = Examples(lambda _: (Image.new("L", (8, 8)), 0))
    for kind, workers, said in ((pictures, 1, "images a Image"), (DataLoader(pictures, 5), 0, "default_collate")):
        with pytest.raises(InputError, match=f"^data: cannot make a batch .*{said}.*accepted") as caught:
            list(data.batches(kind, 5, CPU, workers))
        assert len(str(caught.value).splitlines()) == 1


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((X[0], Y[0]), r"^data: must be images \[batch, .* and labels \[batch\], not \[1, 8, 8\] and \[\]$"),
        ((X[0], Y[:1]), r"^x: images must be .*, not float32 \[1, 8, 8\]$"),
        ((X, ["cat"] * 5), "^y: must be integers, one for each image, not a list of str$"),
        ((X.to_sparse(), Y), "^x must be a tensor of images, dense, not sparse_coo$"),
        ((X, Y.to_sparse()), "^y must be integers, one for each image, dense, not sparse_coo$"),
        (DataLoader(TensorDataset(X, Y), 5, collate_fn=lambda _: (X.to_sparse(), Y)), "^x must be a tensor of images, dense, not sparse"),
        ((None, Y), "^x: must be a tensor of images, not None$"),
        (zip(X, Y, strict=True), "^data: must be a tuple .*, not a zip$"),
        (((x, y) for x, y in zip(X, Y, strict=True)), "^data: must be a tuple .*, not a generator$"),
        ((X, Y, Y), "^data: must be a tuple .*, not a tuple of 3$"),
    ],
)
def test_data_of_another_form_are_refused(given: Any, said: str, conv: torch.nn.Module) -> None:
    with pytest.raises(InputError, match=said):
        lp.evaluate(conv, given, attacks={"pgd": lp.attacks.PGD(lp.Linf(0.1), step_size=0.1, steps=1)}, progress=False)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pixels_that_rounding_led_beyond_the_box_are_brought_back_and_others_are_named(dtype: torch.dtype) -> None:
    rounding = torch.finfo(torch.float32).eps
    x = torch.tensor([-rounding, 0.5, 1 + rounding, 1.0], dtype=dtype).view(1, 1, 2, 2)
    ((found, _),) = batches((x, torch.tensor([0])), 1, torch.device("cpu"))
    assert found.flatten().tolist() == [0.0, 0.5, 1.0, 1.0]
    half = torch.full((1, 1, 2, 2), 1 + torch.finfo(torch.float16).eps, dtype=torch.float16)
    assert next(batches((half, torch.tensor([0])), 1, torch.device("cpu")))[0].max() == 1
    beyond = torch.tensor([-1e-5, 0.5, 1.00001, 1.0], dtype=dtype).view(1, 1, 2, 2)
    ((found, y),) = batches((beyond, torch.tensor([0])), 1, torch.device("cpu"))
    with pytest.raises(InputError, match="found values from -1e-05 to 1.00001 "):
        check_batch(found, y)


def test_batches_are_contiguous_however_images_lie_in_memory() -> None:
    pixels = torch.arange(2 * 4 * 5 * 3, dtype=torch.uint8).view(2, 4, 5, 3)  # as Pillow has them
    images, y = pixels.permute(0, 3, 1, 2), torch.zeros(2, dtype=torch.int64)
    for kind in ((images, y), (images.float() / 255, y), TensorDataset(images, y), DataLoader(TensorDataset(images, y), batch_size=2)):
        (x, _), *_ = data.batches(kind, 2, CPU)
        assert x.is_contiguous()
        assert torch.equal((255 * x).round(), images.float())
