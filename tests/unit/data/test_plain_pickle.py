"""Pickles that hold data, and pickles that ask for more."""

from __future__ import annotations

import collections
import os
import pickle
from typing import Any

import numpy as np
import pytest
from cifar_archives import pickled

from logitpair import InputError
from logitpair.data.plain_pickle import byte_array, read_plain_pickle

ARRAY = np.arange(24, dtype=np.uint8).reshape(2, 12)


class Calls:
    """An object whose pickle calls a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> Any:
        return self.function, self.arguments


@pytest.mark.parametrize("dump", [pickled, pickle.dumps, lambda content: pickle.dumps(content, protocol=3)])
def test_data_is_read_as_it_was_pickled(dump: Any) -> None:
    content = read_plain_pickle(dump({b"data": ARRAY, b"labels": [3, 1], b"more": (1.5, None, True)}))
    assert np.array_equal(byte_array(content[b"data"]), ARRAY)
    assert (content[b"labels"], content[b"more"]) == ([3, 1], (1.5, None, True))


def test_text_of_python_2_is_bytes() -> None:
    assert read_plain_pickle(pickled({"labels": ["a" * 300]})) == {b"labels": [b"a" * 300]}


@pytest.mark.parametrize(
    ("content", "asked"),
    [
        (Calls(os.mkdir, "made"), "posix.mkdir|nt.mkdir"),
        (Calls(eval, "1"), "builtins.eval"),
        (collections.OrderedDict(), "collections.OrderedDict"),
        (Calls(np.load, "made"), "numpy.load"),
        (Calls(getattr, 1, "real"), "builtins.getattr"),
    ],
)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_what_would_run_is_refused_in_one_line(
    content: Any, asked: str, protocol: int, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    raw = pickle.dumps({"data": content}, protocol=protocol, fix_imports=False)
    with pytest.raises(InputError, match=f"asks for ({asked}); accepted") as refused:
        read_plain_pickle(raw)
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_a_cut_pickle_is_refused_wherever_it_is_cut() -> None:
    raw = pickled({"data": ARRAY, "labels": [1, 2]})
    for length in range(len(raw)):
        with pytest.raises(InputError, match="truncated or no pickle"):
            read_plain_pickle(raw[:length])


@pytest.mark.parametrize(
    "other", [ARRAY.astype(np.int64), np.array(["a"], object), np.asfortranarray(ARRAY), ARRAY[:, ::2].tolist(), b"bytes", np.uint8]
)
def test_other_arrays_are_none_of_bytes(other: Any) -> None:
    if isinstance(other, np.ndarray) and other.flags.f_contiguous and other.ndim == 2:
        assert pickle.loads(pickle.dumps(other)).flags.f_contiguous  # noqa: S301
    raw = pickle.dumps(other, protocol=3) if other is not np.uint8 else pickle.dumps(np.ndarray, protocol=3)
    assert byte_array(read_plain_pickle(raw)) is None


def test_a_shape_that_the_bytes_do_not_fill_is_none() -> None:
    raw = pickle.dumps(ARRAY, protocol=3).replace(b"K\x02K\x0c", b"K\x02K\x0d")
    assert byte_array(read_plain_pickle(raw)) is None
    huge = pickle.dumps(ARRAY, protocol=3).replace(b"K\x02K\x0c", b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f")
    assert byte_array(read_plain_pickle(huge)) is None
