"""Data sets of the library ``datasets``: with a stand-in for it, and with the library where it is installed."""

from __future__ import annotations

import importlib.util
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from image_folders import noise_image
from PIL import Image as Pillow

from logitpair import InputError, data


@dataclass
class Image:
    """The library's type of a column of images."""

    decode: bool = True
    dtype: str = "PIL.Image.Image"


@dataclass
class ClassLabel:
    """The library's type of a column of classes."""

    names: Sequence[str]
    dtype: str = "int64"


@dataclass
class Value:
    """The library's type of any other column."""

    dtype: str


@dataclass
class Table:
    """As much of the library's ``Dataset`` as is used."""

    rows: list[dict[str, Any]]
    features: dict[str, Any]
    _fingerprint: str = "f"
    chosen: Sequence[str] = field(default_factory=tuple)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: int | slice) -> Any:
        if isinstance(key, slice):
            return {name: [row[name] for row in self.rows[key]] for name in self.chosen}
        row = dict(self.rows[key])
        for name, kind in self.features.items():
            if isinstance(kind, Image) and kind.decode:
                row[name] = Pillow.open(io.BytesIO(row[name]["bytes"]))
        return row

    def select_columns(self, names: Sequence[str]) -> Table:
        return replace(self, chosen=names)

    def cast_column(self, name: str, kind: Any) -> Table:
        return replace(self, features=self.features | {name: kind}, _fingerprint=self._fingerprint + "cast")


def encoded(seed: int, suffix: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    noise_image(seed, 16, 16).save(buffer, suffix)
    return buffer.getvalue()


@pytest.fixture
def splits(tmp_path: Path) -> dict[str, Table]:
    """Twelve images to train and five to test on, one of them a file; the split ``hidden`` has no labels."""
    features = {"photo": Image(), "id": Value("int64"), "kind": ClassLabel(["ant", "bee", "cow"])}
    noise_image(104, 16, 16).save(tmp_path / "a file.png")

    def rows(first: int, count: int) -> list[dict[str, Any]]:
        return [{"photo": {"bytes": encoded(first + i), "path": None}, "id": i, "kind": i % 3} for i in range(count)]

    test = rows(100, 5)
    test[4]["photo"] = {"bytes": None, "path": str(tmp_path / "a file.png")}
    hidden = [row | {"kind": -1} for row in rows(200, 4)]
    tables = {"train": Table(rows(0, 12), features, "t"), "test": Table(test, features, "v"), "hidden": Table(hidden, features)}
    return tables | {"empty": Table([], features)}


@pytest.fixture
def library(splits: dict[str, Table], monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A stand-in that knows ``someone/insects`` and nothing else."""
    asked: list[Any] = []

    def load_dataset(path: str, config: str | None, revision: str | None) -> dict[str, Table]:
        asked.append((path, config, revision))
        if path != "someone/insects":
            raise ConnectionError(f"Couldn't reach {path}\nsecond line")
        return splits

    stand_in = SimpleNamespace(
        Image=Image, load_dataset=load_dataset, load_from_disk=lambda path: asked.append(path) or splits, asked=asked
    )
    monkeypatch.setitem(sys.modules, "datasets", stand_in)
    return stand_in


def insects(**settings: Any) -> data.HuggingFace:
    return data.HuggingFace(**({"path": "someone/insects", "size": 16, "validation_fraction": 0.25} | settings))


def test_splits_labels_and_pixels(library: SimpleNamespace) -> None:
    source = insects(config="small", revision="abc")
    assert [len(source.train()), len(source.validation()), len(source.test())] == [9, 3, 5]
    assert list(source.classes) == ["ant", "bee", "cow"]
    assert library.asked == [("someone/insects", "small", "abc")], "loaded once"
    found = [(x, y) for x, y in source.test()]
    assert [y for _, y in found] == [0, 1, 2, 0, 1]
    for i, (x, _) in enumerate(found):
        assert torch.equal(
            x, torch.frombuffer(bytearray(noise_image(100 + i, 16, 16).tobytes()), dtype=torch.uint8).view(16, 16, 3).permute(2, 0, 1)
        )


def test_classes_of_the_test_split_are_matched_by_name(library: SimpleNamespace, splits: dict[str, Table]) -> None:
    splits["test"].features = splits["test"].features | {"kind": ClassLabel(["bee", "cow", "dog"])}
    for row, kind in zip(splits["test"].rows, (0, 1, 0, 1, 1), strict=True):
        row["kind"] = kind
    source = insects()
    assert [y for _, y in source.test()] == [1, 2, 1, 2, 2]
    assert list(source.test().dataset.classes) == list(source.classes) == ["ant", "bee", "cow"]
    splits["test"].rows[0]["kind"] = 2
    with pytest.raises(InputError, match="^data.testing: the split 'test' .* has the class 'dog'; those of training are ant, bee, cow"):
        insects().test()


def test_labels_that_begin_at_1_are_warned_of(library: SimpleNamespace, splits: dict[str, Table]) -> None:
    for row in splits["train"].rows:
        row["id"] += 1
    with pytest.warns(UserWarning, match="data.training: the split 'train' .* has labels from 1 to 12: labels begin at 0, and class 0"):
        assert len(insects(label="id").classes) == 13


def test_a_test_split_that_is_the_training_split_is_warned_of(library: SimpleNamespace) -> None:
    with pytest.warns(
        UserWarning, match="^data.testing: 'train' is in data.training too: the network is tested on images that it is trained"
    ):
        insects(testing="train").test()


def test_workers_see_the_same(library: SimpleNamespace) -> None:
    alone, shared = (torch.cat([x for x, _ in data.batches(insects().test(), 2, torch.device("cpu"), workers)]) for workers in (0, 2))
    assert torch.equal(alone, shared)


def test_fingerprints_differ(library: SimpleNamespace, splits: dict[str, Table]) -> None:
    own = data.fingerprint(insects().test())
    assert own == data.fingerprint(insects().test())
    assert own != data.fingerprint(insects().validation())
    splits["test"].rows[1]["kind"] = 2
    assert own != (relabelled := data.fingerprint(insects().test()))
    splits["test"]._fingerprint = "other"
    assert relabelled != data.fingerprint(insects().test())


def test_damaged_rows_are_named_or_skipped(library: SimpleNamespace, splits: dict[str, Table], cache: Path) -> None:
    splits["test"].rows[2]["photo"]["bytes"] = encoded(1)[:60]
    splits["test"].rows[3]["photo"] = None
    with pytest.raises(InputError, match="'row 2' is truncated"):
        list(insects().test())
    with pytest.warns(UserWarning, match="left out 2 of 5 images .*'row 2', 'row 3'"):
        assert [y for _, y in insects(corrupt="skip").test()] == [0, 1, 1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"path": "nobody/nothing"}, "data.path: cannot load 'nobody/nothing' .Couldn't reach nobody/nothing.; accepted"),
        ({"testing": "validation"}, "data.testing: .*has no split 'validation'; accepted: train, test, hidden"),
        ({"testing": "hidden"}, "data.testing: the split 'hidden' .*labels from -1 to -1; accepted: .*0 to 2"),
        ({"testing": "empty"}, "data.testing: the split 'empty'.*is empty"),
        ({"image": "picture"}, "data.image: there is no 'picture'; accepted: photo, id, kind"),
        ({"label": "photo"}, "data.label: the column 'photo' holds no whole numbers"),
    ],
)
def test_bad_settings_are_refused_in_one_line(library: SimpleNamespace, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}") as caught:
        insects(**settings).test()
    assert len(str(caught.value).splitlines()) == 1


def test_columns_are_found_or_named(library: SimpleNamespace, splits: dict[str, Table]) -> None:
    assert list(insects(label="id").classes) == [str(i) for i in range(12)]
    for table in splits.values():
        table.features["other"] = Image()
    with pytest.raises(InputError, match="data.image: 2 of the columns are of type Image; accepted: photo, id, kind, other"):
        insects().test()
    assert len(insects(image="photo").test()) == 5


def test_a_saved_folder_is_loaded_from_the_disk(library: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "dataset_dict.json").write_text("{}")
    assert len(insects(path=str(tmp_path)).test()) == 5
    assert library.asked == [str(tmp_path)]


@pytest.mark.parametrize("there", ["nothing", "a_folder"])
def test_without_the_library_one_line_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch, there: str) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None if there == "nothing" else SimpleNamespace())
    with pytest.raises(InputError, match=r"library datasets.*pip install 'logitpair\[hub\]'") as caught:
        insects().test()
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.skipif(importlib.util.find_spec("datasets") is None, reason="the library datasets is not installed")
@pytest.mark.filterwarnings("ignore")
def test_with_the_library_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets  # pyright: ignore[reportMissingImports]

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # the variable was read when it was imported
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    features = datasets.Features({"photo": datasets.Image(), "kind": datasets.ClassLabel(names=["ant", "bee"])})

    def table(first: int, count: int) -> Any:
        rows = {"photo": [noise_image(first + i, 16, 16) for i in range(count)], "kind": [i % 2 for i in range(count)]}
        return datasets.Dataset.from_dict(rows, features=features)

    datasets.DatasetDict({"train": table(0, 8), "test": table(100, 5)}).save_to_disk(tmp_path / "saved")
    source = insects(path=str(tmp_path / "saved"))
    assert [len(source.train()), len(source.validation()), len(source.test())] == [6, 2, 5]
    assert list(source.classes) == ["ant", "bee"]
    pixels = torch.frombuffer(bytearray(noise_image(103, 16, 16).tobytes()), dtype=torch.uint8).view(16, 16, 3).permute(2, 0, 1)
    assert torch.equal(source.test()[3][0], pixels)
    assert data.fingerprint(source.test()) == data.fingerprint(insects(path=str(tmp_path / "saved")).test())
    with pytest.raises(InputError, match="^data.path: cannot load 'nobody/nothing-here'") as caught:
        insects(path="nobody/nothing-here").test()
    assert len(str(caught.value).splitlines()) == 1
