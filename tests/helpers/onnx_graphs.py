"""ONNX files written by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

Nodes = Sequence[tuple[str, str, str, Mapping[str, Any]]]


def write(
    path: Path,
    nodes: Nodes,
    constants: Mapping[str, np.ndarray],
    *,
    inputs: Sequence[str] = ("x",),
    outputs: Sequence[str] = ("y",),
    **options: Any,
) -> onnx.ModelProto:
    """Write a network of nodes, each an operator, its inputs and outputs with blanks between, and its attributes.

    Options: ``opset``; ``kind``, the type of the inputs' elements; ``shape``, that of the inputs; ``domain`` of the nodes.
    """
    kind, opset = options.get("kind", onnx.TensorProto.FLOAT), options.get("opset", 20)
    made = [
        helper.make_node(
            operator,
            ["" if name == "-" else name for name in before.split()],
            after.split(),
            domain=options.get("domain", ""),
            **attributes,
        )
        for operator, before, after, attributes in nodes
    ]
    graph = helper.make_graph(
        made,
        "net",
        [helper.make_tensor_value_info(name, kind, options.get("shape")) for name in inputs],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return model
