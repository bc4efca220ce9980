"""Every operator gives what ONNX's own NumPy code for it gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from logitpair import InputError
from logitpair.models.onnx_operators import OPERATORS

pytest.importorskip("onnx")

import onnx
import onnx_graphs
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from logitpair.models.onnx_file import OnnxFile


class Case(NamedTuple):
    """An operator at a shape of the image's values, its further inputs, and its attributes."""

    operator: str
    shape: tuple[int, ...] = (2, 4, 6, 6)
    others: tuple[Any, ...] = ()  # arrays, or None for an optional input that is left out
    attributes: dict[str, Any] = {}  # noqa: RUF012
    opset: int = 20


def floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def integers(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def number(value: float) -> np.ndarray:
    return np.array(value, dtype=np.float32)


WINDOW = {"kernel_shape": [3, 3]}
ONE_SIDED = {"pads": [0, 1, 1, 0], "strides": [2, 1]}
FOUR = (floats(4), floats(4))
CASES = [
    *(Case(name) for name in ("Abs", "Ceil", "Erf", "Exp", "Floor", "GlobalAveragePool", "GlobalMaxPool", "HardSwish", "Identity", "Mish")),
    *(Case(name) for name in ("Neg", "Reciprocal", "Relu", "Selu", "Sigmoid", "Softplus", "Tanh", "Dropout", "Elu", "LeakyRelu", "Gelu")),
    *(Case(name, others=(floats(2, 4, 6, 6),)) for name in ("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "PRelu")),
    *(Case(name, others=(floats(4, 1, 6),)) for name in ("Add", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max")),
    Case("AveragePool", attributes=WINDOW),
    *(Case("AveragePool", attributes=WINDOW | ONE_SIDED | {"count_include_pad": count}) for count in (0, 1)),
    *(Case("AveragePool", attributes=WINDOW | {"pads": [1, 1, 1, 1], "count_include_pad": count}) for count in (0, 1)),
    Case("AveragePool", attributes=WINDOW | {"strides": [2, 2], "ceil_mode": 1}),
    Case("BatchNormalization", others=(*FOUR, floats(4), np.abs(floats(4))), attributes={"epsilon": 0.1}),
    Case("Clip", others=(number(-0.3), number(0.4))),
    Case("Clip", others=(None, number(0.4))),
    Case("Clip"),
    Case("Concat", others=(floats(2, 1, 6, 6),), attributes={"axis": 1}),
    Case("Conv", others=(floats(8, 2, 3, 3), floats(8)), attributes={"group": 2, "pads": [1, 1, 1, 1], "strides": [2, 1]}),
    Case("Conv", others=(floats(8, 4, 2, 3),), attributes={"dilations": [2, 1], "pads": [1, 0, 2, 1], "kernel_shape": [2, 3]}),
    Case("Einsum", (2, 3), (floats(3, 4),), {"equation": "ij,jk->ik"}),
    Case("Elu", attributes={"alpha": 0.3}),
    Case("Expand", (2, 1, 3), (integers(4, 1),)),
    *(Case("Flatten", attributes={"axis": axis}) for axis in (0, 1, 2, -1)),
    Case("Gather", others=(integers(1, -1),), attributes={"axis": 2}),
    Case("Gather", others=(np.array(3),), attributes={"axis": -1}),
    Case("Gelu", attributes={"approximate": "tanh"}),
    Case("Gemm", (5, 3), (floats(3, 4), floats(4)), {"alpha": 0.5, "beta": 2.0}),
    Case("Gemm", (3, 5), (floats(4, 3), floats(5, 1)), {"transA": 1, "transB": 1}),
    Case("Gemm", (5, 3), (floats(3, 4),)),
    Case("GroupNormalization", others=FOUR, attributes={"num_groups": 2, "epsilon": 0.1}, opset=21),
    Case("GroupNormalization", others=(floats(2), floats(2)), attributes={"num_groups": 2}),
    Case("HardSigmoid"),
    Case("HardSigmoid", attributes={"alpha": 0.5, "beta": 0.1}),
    Case("InstanceNormalization", others=FOUR, attributes={"epsilon": 0.1}),
    Case("LayerNormalization", others=(floats(6, 6), floats(6, 6)), attributes={"axis": 2, "epsilon": 0.1}),
    Case("LayerNormalization", others=(floats(6),)),
    Case("LeakyRelu", attributes={"alpha": 0.3}),
    Case("LogSoftmax", (3, 5)),
    Case("MatMul", (2, 3, 4), (floats(4, 5),)),
    Case("MaxPool", attributes=WINDOW | ONE_SIDED),
    Case("MaxPool", attributes=WINDOW | {"pads": [1, 1, 1, 1], "strides": [2, 2], "dilations": [2, 1]}),
    Case("MaxPool", attributes=WINDOW | {"strides": [2, 2], "ceil_mode": 1}),
    Case("PRelu", others=(floats(4, 1, 1),)),
    Case("Pad", others=(integers(0, 0, 1, 2, 0, 1, 3, 0), number(0.5))),
    Case("Pad", others=(integers(1, 2, 0, 3), None, integers(2, -1))),
    *(Case("Pad", others=(integers(0, 0, 1, 2, 0, 0, 3, 0),), attributes={"mode": mode}) for mode in ("reflect", "edge")),
    Case("Pow", others=(number(2),)),
    *(Case(f"Reduce{name}", others=(integers(2, -1),), attributes={"keepdims": 0}) for name in ("Mean", "Sum", "Max", "Min", "L2")),
    *(Case(f"Reduce{name}") for name in ("Mean", "Sum", "Max", "Min", "L2")),
    *(Case("ReduceSum", others=axes, attributes={"noop_with_empty_axes": 1}) for axes in ((), (integers(),))),
    Case("ReduceSum", others=(integers(),)),
    Case("Reshape", others=(integers(0, -1, 9),)),
    *(Case("Slice", others=(integers(1, -3), integers(9, -1), integers(2, -1), steps)) for steps in (None, integers(2, 1))),
    Case("Softmax", attributes={"axis": 1}),
    Case("Split", others=(integers(1, 3),), attributes={"axis": 1}),
    Case("Split", attributes={"axis": 2, "num_outputs": 2}),
    Case("Squeeze", (2, 1, 3, 1), (integers(1, -1),)),
    Case("Squeeze", (2, 1, 3, 1)),
    Case("Tile", (2, 3), (integers(2, 1),)),
    Case("Transpose", attributes={"perm": [0, 2, 3, 1]}),
    Case("Transpose", (2, 3)),
    Case("Unsqueeze", (2, 3), (integers(0, 3),)),
    *(Case("Unsqueeze", (2, 3), (integers(*axes),)) for axes in ((-1, -2), (2, -3), (-1, 0))),
]
POSITIVE = [Case("Log"), Case("Sqrt"), Case("Pow", others=(number(0.3),))]
OF_SHAPES = {"And", "Cast", "ConstantOfShape", "Not", "Or", "Range", "Shape", "Where"}


def test_no_operator_is_forgotten() -> None:
    assert {case.operator for case in CASES + POSITIVE} | OF_SHAPES == OPERATORS.keys()


@pytest.mark.parametrize("case", CASES + POSITIVE, ids=lambda case: case.operator)
def test_an_operator_is_as_onnx_defines_it(case: Case, tmp_path: Path) -> None:
    x = np.abs(floats(*case.shape)) + 0.1 if case in POSITIVE else np.random.default_rng(0).normal(size=case.shape).astype(np.float32)
    constants = {f"c{i}": value for i, value in enumerate(case.others) if value is not None}
    names = " ".join("-" if value is None else f"c{i}" for i, value in enumerate(case.others))
    outputs = "y z" if case.operator == "Split" else "y"
    constants["shape"], x = integers(*case.shape), x.reshape(1, 1, 1, -1)  # networks take images alone
    nodes = [("Reshape", "x shape", "values", {}), (case.operator, f"values {names}", outputs, case.attributes)]
    written = onnx_graphs.write(tmp_path / "one.onnx", nodes, constants, opset=case.opset)
    (expected,) = ReferenceEvaluator(written).run(None, {"x": x})
    found = OnnxFile(tmp_path / "one.onnx")
    torch.testing.assert_close(found(torch.from_numpy(x)), torch.from_numpy(np.asarray(expected)), rtol=1e-4, atol=1e-5)


def test_shapes_are_computed_with(tmp_path: Path) -> None:
    nodes = [
        ("Shape", "x", "shape", {"start": 1}),
        ("ReduceSum", "shape axis", "sum", {"keepdims": 0}),  # 4 + 6 + 6
        ("Clip", "sum one", "at_least_one", {}),
        ("Div", "at_least_one three", "third", {}),  # 5, towards zero
        ("Range", "zero third one", "range", {}),
        ("Cast", "range", "as_floats", {"to": 1}),
        ("Unsqueeze", "third axis", "long", {}),
        ("ConstantOfShape", "long", "ones", {"value": numpy_helper.from_array(np.array([1.0], dtype=np.float32))}),
        ("ConstantOfShape", "long", "zeros", {}),
        ("Greater", "range one", "above", {}),
        ("Less", "range three", "below", {}),
        ("And", "above below", "two", {}),
        ("Not", "above", "not_above", {}),
        ("Or", "two not_above", "up_to_two", {}),
        ("Add", "ones as_floats", "more", {}),
        ("Where", "up_to_two more zeros", "y", {}),
    ]
    constants = {"axis": integers(0), "three": np.array(3), "zero": np.array(0), "one": np.array(1)}
    onnx_graphs.write(tmp_path / "shapes.onnx", nodes, constants)
    assert OnnxFile(tmp_path / "shapes.onnx")(torch.rand(2, 4, 6, 6)).tolist() == [1, 2, 3, 0, 0]


@pytest.mark.parametrize(
    ("operator", "others", "attributes", "message"),
    [
        ("Conv", (floats(4, 4, 3, 3),), {"auto_pad": "SAME_UPPER"}, "auto_pad SAME_UPPER"),
        ("AveragePool", (), {"kernel_shape": [2, 2], "dilations": [2, 2]}, "AveragePool with dilations"),
        *((pool, (), {"kernel_shape": [2]}, r"kernel_shape \[2\]") for pool in ("AveragePool", "MaxPool")),
        ("BatchNormalization", (*FOUR, *FOUR), {"training_mode": 1}, "training_mode"),
        ("Dropout", (number(0.5), np.array(True)), {}, "Dropout with training_mode"),
        ("Cast", (), {"to": onnx.TensorProto.UINT16}, "Cast with type 4"),
        ("Slice", (integers(-1), integers(-4), integers(2), integers(-1)), {}, "steps backwards"),
    ],
)
def test_what_is_not_read_of_an_operator_is_refused(
    operator: str, others: tuple[np.ndarray, ...], attributes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    names = [f"c{i}" for i in range(len(others))]
    nodes = [(operator, " ".join(["x", *names]), "y", attributes)]
    onnx_graphs.write(tmp_path / "one.onnx", nodes, dict(zip(names, others, strict=True)))
    with pytest.raises(InputError, match=f"{message}.* is not read"):
        OnnxFile(tmp_path / "one.onnx")(torch.rand(2, 4, 6, 6))
