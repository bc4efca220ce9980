"""Networks from ONNX files, each operator run by PyTorch's own, so that gradients are PyTorch's."""

import hashlib
import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, fx, nn

from logitpair.errors import InputError, first_line
from logitpair.models.model_file import MADE_BY
from logitpair.models.onnx_operators import DTYPES, OPERATORS
from logitpair.runtime.lazy_imports import import_optional
from logitpair.storage.weights import not_what_was_meant

ONNX = "onnx:"
OPSET = 18  # files of older ones are converted; of those since, the operators that are read take no other inputs


@dataclass(frozen=True)
class Step:
    """One operator of a file: values by their names, and None for an optional input that is left out."""

    function: Callable[..., Any]
    inputs: tuple[str | None, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]


class Layer(nn.Module):
    """An operator with weights of the file as a layer, which whoever looks for one by its class finds, such as a check of an audit."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        nn.Module.__init__(self)  # the weights are the file's, and come with each call
        self.function = function

    def forward(self, *values: Any, **attributes: Any) -> Tensor:
        return self.function(*values, **attributes)

    def extra_repr(self) -> str:
        return ""


class LinearLayer(Layer, nn.Linear):
    """A product with a matrix."""


class ConvLayer(Layer, nn.Conv2d):
    """A convolution; of its settings only ``kernel_size`` is known."""


class OnnxFile(nn.Module):
    """The network of an ONNX file, with one input, images in [0, 1], and one output; nothing in the file is code.

    A file that is written for a fixed number of images, and computes something else or nothing with another, sees that many at a time.

    Args:
        path: the file; tensors that it keeps beside it are read too.

    Raises:
        InputError: where the library ``onnx`` is not installed, for what is no such file, an input of integers, and operators or attributes
            that are not read.
    """

    digest: Tensor

    def __init__(self, path: Path) -> None:
        super().__init__()
        model = _load(path)
        graph, self.made_here = model.graph, model.producer_name == MADE_BY
        self._constants: dict[str, Tensor] = {}  # on the CPU: integers, which are mostly shapes, and scalars, which go with any device
        self._parameter_names: dict[str, str] = {}
        for tensor in graph.initializer:
            self._keep(tensor.name, _tensor(tensor))
        images, logits = _only(graph.input, path, "input", besides=self._names()), _only(graph.output, path, "output")
        self._input, self._output = images.name, logits.name
        kind = images.type.tensor_type.elem_type
        if kind and not DTYPES.get(kind, torch.int64).is_floating_point:  # 0: not said
            raise InputError(f"--model: '{path}' takes integers, as pixels of 0 to 255 are; accepted: floating point, images in [0, 1]")
        if unknown := sorted({_operator(node) for node in graph.node} - OPERATORS.keys() - {"Constant"}):
            raise InputError(f"--model: '{path}' has operators that are not read: {', '.join(unknown[:5])}")
        self._steps: list[Step] = []
        for node in graph.node:
            attributes = {attribute.name: _value(attribute) for attribute in node.attribute}
            if node.op_type == "Constant":
                value = next(iter(attributes.values()), None)
                if not isinstance(value, Tensor | int | float | list):
                    raise InputError(f"--model: '{path}': a Constant is read as numbers alone, not as {', '.join(attributes)}")
                self._keep(node.output[0], torch.as_tensor(value))
                continue
            step = Step(OPERATORS[node.op_type], tuple(name or None for name in node.input), tuple(node.output), attributes)
            if attributes:
                try:  # what an operator does not know would change its values unseen
                    inspect.signature(step.function).bind(*step.inputs, **attributes)
                except (TypeError, ValueError) as error:
                    raise InputError(f"--model: '{path}': {node.op_type} is not read as it is there ({first_line(error)})") from error
            self._steps.append(replace(step, function=self._as_layer(node.op_type, step)))
        made = {None, self._input, *self._names()}
        for inputs, outputs in (*((step.inputs, step.outputs) for step in self._steps), ((self._output,), ())):
            if unknown := [name for name in inputs if name not in made]:
                raise InputError(f"--model: '{path}' is damaged: nothing in it makes '{unknown[0]}' before it is used")
            made.update(outputs)
        # two files of the same tensors may hold other operators
        content = hashlib.sha256(model.SerializeToString(deterministic=True)).digest()
        self.register_buffer("digest", torch.tensor(list(content), dtype=torch.uint8))
        fixed = [dim.dim_value for dim in images.type.tensor_type.shape.dim]
        self._images_at_once = self._fixed_batch(fixed, DTYPES.get(kind, torch.float32))

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Any:
        if self._images_at_once is None:
            return self._logits(x)
        if isinstance(x, fx.Proxy):  # as whoever reads the operations gives in its place
            raise InputError(f"model: written for {self._images_at_once} images at a time; accepted for bounds: a dynamic batch")
        missing = -len(x) % self._images_at_once
        whole = torch.cat([x, x[-1:].expand(missing, -1, -1, -1)])
        return torch.cat([self._logits(images) for images in whole.split(self._images_at_once)])[: len(x)]

    def _fixed_batch(self, shape: Sequence[int], dtype: torch.dtype) -> int | None:
        """For how many images the file is written, unless it takes others as well; ``shape`` is its input's, 0 where that is left open."""
        if len(shape) != 4 or not all(shape):
            return None
        batch, x = shape[0], torch.rand(shape[0] + 1, *shape[1:], generator=torch.Generator().manual_seed(0), dtype=dtype)
        with torch.no_grad():
            try:
                expected = torch.cat([self._logits(x[:batch]), self._logits(x[1:])[-1:]])
            except Exception:  # whoever runs the network is told what is wrong
                return None
            try:
                torch.testing.assert_close(self._logits(x), expected, rtol=1e-3, atol=1e-3, equal_nan=True)
            except Exception:  # an operator may raise anything
                return batch
        return None

    def _logits(self, x: Tensor) -> Any:
        values: dict[str | None, Any] = {None: None, self._input: x, **self._constants}
        values |= {name: getattr(self, parameter) for name, parameter in self._parameter_names.items()}
        for step in self._steps:
            found = step.function(*(values[name] for name in step.inputs), **step.attributes)
            values.update(zip(step.outputs, found if isinstance(found, list | tuple) else [found], strict=False))
        return values[self._output]

    def _keep(self, name: str, tensor: Tensor) -> None:
        if not (tensor.is_floating_point() and tensor.ndim):
            self._constants[name] = tensor
            return
        self._parameter_names[name] = f"tensor_{len(self._parameter_names)}"  # names in the file are any text
        self.register_parameter(self._parameter_names[name], nn.Parameter(tensor, requires_grad=False))

    def _as_layer(self, operator: str, step: Step) -> Callable[..., Any]:
        weight = getattr(self, self._parameter_names.get(step.inputs[1] or "", ""), None) if len(step.inputs) > 1 else None
        if weight is not None and operator in ("Gemm", "MatMul", "Conv"):
            layer = ConvLayer(step.function) if operator == "Conv" else LinearLayer(step.function)
            if isinstance(layer, ConvLayer):
                layer.kernel_size = tuple(weight.shape[2:])
            self.add_module(f"{operator}_{len(self._steps)}", layer)
            return layer
        return step.function

    def _names(self) -> set[str]:
        return self._constants.keys() | self._parameter_names.keys()


def input_size(path: Path) -> int | None:
    """The width in pixels of the images that an ONNX file takes; None where it takes any, and for what is no such file."""
    try:
        graph = _onnx().load_model(path, load_external_data=False).graph
        dims = _only(graph.input, path, "input", besides=[tensor.name for tensor in graph.initializer]).type.tensor_type.shape.dim
    except Exception:  # reading the network tells what is wrong
        return None
    return (dims[-1].dim_value or None) if dims else None


def _onnx(module: str = "onnx", holds: str = "load_model") -> Any:
    return import_optional(module, holds, needed_by=f"--model: {ONNX}FILE", extra="onnx")


def _load(path: Path) -> Any:
    """The file's content, of opset 18 or later, without functions of its own."""
    onnx = _onnx()
    try:
        model = onnx.load_model(path)
        if not model.graph.node:
            raise ValueError("it has no operators")
        if model.functions:
            model = _onnx("onnx.inliner", "inline_local_functions").inline_local_functions(model)
        opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
        return onnx.version_converter.convert_version(model, OPSET) if opset < OPSET else model
    except Exception as error:  # protobuf and the converter raise whatever the bytes lead to
        what = not_what_was_meant(path) or f"is no ONNX file that can be read ({first_line(error)})"
        raise InputError(f"--model: '{path}' {what}") from error


def _only(values: Any, path: Path, what: str, besides: Collection[str] = ()) -> Any:
    found = [value for value in values if value.name not in besides]  # old files list their weights among the inputs
    if len(found) != 1:
        names = ", ".join(value.name for value in found)
        raise InputError(f"--model: '{path}' has the {what}s {names}; accepted: one {what}, images to logits")
    return found[0]


def _operator(node: Any) -> str:
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"


def _value(attribute: Any) -> Any:
    value = _onnx().helper.get_attribute_value(attribute)
    return _tensor(value) if isinstance(value, _onnx().TensorProto) else value.decode() if isinstance(value, bytes) else value


def _tensor(tensor: Any) -> Tensor:
    values = _onnx().numpy_helper.to_array(tensor)
    try:
        return torch.from_numpy(values.copy())
    except TypeError as error:
        raise InputError(f"--model: tensors of {values.dtype} such as '{tensor.name}' are not read") from error
