"""Networks from ONNX files: their logits, their gradients, and what is refused."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small_networks import one_line
from torch import Tensor, nn

import logitpair as lp
from logitpair import InputError
from logitpair.auditing.checks.strength import features, last_layer
from logitpair.bounds.read_graph import read_graph
from logitpair.models import count_logits, preprocessing, read_model
from logitpair.storage.model_fingerprint import fingerprint, weights_of

pytest.importorskip("onnx")

import onnx
import onnx_graphs
from onnx import helper
from onnx.reference import ReferenceEvaluator

PADDED = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
NETWORK = (
    ("Conv", "x kernel bias", "a", PADDED),
    ("BatchNormalization", "a scale bias mean var", "b", {}),
    ("Sigmoid", "b", "gate", {}),
    ("Mul", "b gate", "c", {}),
    ("MaxPool", "c", "d", {"kernel_shape": [2, 2], "strides": [2, 2]}),
    ("ReduceMean", "d axes", "e", {"keepdims": 0}),
    ("Gemm", "e weight", "y", {"transB": 1}),
)


def constants(kind: type = np.float32, seed: int = 0) -> dict[str, np.ndarray]:
    drawn = np.random.default_rng(seed)
    shapes = {"kernel": (4, 3, 3, 3), "bias": (4,), "scale": (4,), "mean": (4,), "var": (4,), "weight": (5, 4)}
    values = {name: drawn.normal(size=shape).astype(kind) for name, shape in shapes.items()}
    return values | {"var": np.abs(values["var"]), "axes": np.array([2, 3])}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    onnx_graphs.write(tmp_path / "net.onnx", NETWORK, constants(), shape=("batch", 3, 8, 8))
    return tmp_path / "net.onnx"


@pytest.fixture
def x() -> Tensor:
    return torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def onnx_logits(path: Path, x: Tensor) -> Tensor:
    return torch.from_numpy(ReferenceEvaluator(str(path)).run(None, {"x": x.numpy()})[0])


def test_logits_are_those_of_onnx_for_any_number_of_images(path: Path, x: Tensor) -> None:
    network = read_model(f"onnx:{path}")
    for images in (x, x[:1]):
        torch.testing.assert_close(network(images), onnx_logits(path, images))
    other_name = path.rename(path.with_suffix(".bin"))
    torch.testing.assert_close(read_model(f"onnx:{other_name}")(x), network(x), rtol=0, atol=0)
    normalised = read_model(f"onnx:{other_name}", mean=[0.1, 0.2, 0.3], std=[0.5, 0.5, 0.5])
    torch.testing.assert_close(normalised(x), network((x - torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)) / 0.5))
    assert count_logits(network, x[0]) == 5


def test_gradients_are_the_finite_differences_of_onnx_s_own_logits(tmp_path: Path, x: Tensor) -> None:
    onnx_graphs.write(tmp_path / "net.onnx", NETWORK, constants(np.float64), kind=onnx.TensorProto.DOUBLE)
    images = x[:1].double().requires_grad_()
    gradient = torch.autograd.grad(read_model(str(tmp_path / "net.onnx"))(images)[0, 1], images)[0]
    for place in torch.randint(192, (12,), generator=torch.Generator().manual_seed(1)).tolist():
        step = torch.zeros(192, dtype=torch.float64)
        step[place] = 1e-6
        moved = [onnx_logits(tmp_path / "net.onnx", images.detach() + sign * step.view_as(images))[0, 1] for sign in (1, -1)]
        assert gradient.flatten()[place].item() == pytest.approx((moved[0] - moved[1]).item() / 2e-6, rel=1e-5, abs=1e-9)


def test_an_attack_leaves_the_weights_and_breaks_what_it_breaks_of_the_same_network_in_pytorch(path: Path, x: Tensor) -> None:
    ours, values = read_model(str(path)), {name: torch.from_numpy(value) for name, value in constants().items()}

    class Same(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            x = nn.functional.conv2d(x, values["kernel"], values["bias"], padding=1)
            x = nn.functional.batch_norm(x, values["mean"], values["var"], values["scale"], values["bias"])
            return nn.functional.max_pool2d(nn.functional.silu(x), 2).mean((2, 3)) @ values["weight"].T

    before = fingerprint(ours)
    attack = lp.attacks.PGD(lp.Linf(eps=0.1), step_size=0.02, steps=5)
    y = torch.tensor([0, 1, 2])
    found = [attack(network, x, y, generator=torch.Generator().manual_seed(0)) for network in (ours, Same())]
    assert (found[0] == found[1]).float().mean() > 0.99  # where a gradient is nearly 0 its sign is a matter of rounding
    assert fingerprint(ours) == before


@pytest.mark.parametrize("last", ["Gemm", "MatMul", "Conv"])
def test_an_audit_finds_the_last_layer(last: str, tmp_path: Path, x: Tensor) -> None:
    weight = constants()["weight"]
    of_maps = [("Conv", "c weight", "maps", {}), ("ReduceMean", "maps axes", "y", {"keepdims": 0})]
    heads = {"Gemm": [NETWORK[-1]], "MatMul": [("MatMul", "e weight", "y", {})], "Conv": of_maps}
    shaped = {"Gemm": weight, "MatMul": weight.T, "Conv": weight[:, :, None, None]}[last]
    onnx_graphs.write(tmp_path / "net.onnx", [*NETWORK[:-1], *heads[last]], constants() | {"weight": shaped})
    network = read_model(str(tmp_path / "net.onnx"))
    layer = last_layer(network, x, torch.tensor([0, 1, 4]))
    assert isinstance(layer, nn.Conv2d if last == "Conv" else nn.Linear)
    inputs, outputs = features(network, layer, x)
    torch.testing.assert_close(outputs.float(), network(x))
    torch.testing.assert_close(inputs @ torch.from_numpy(weight).double().T, outputs)
    assert "LinearLayer()" in str(network) or last == "Conv"


def test_files_differ_by_their_weights_and_by_their_operators(path: Path) -> None:
    found = []
    for seed, gate in ((0, "Sigmoid"), (1, "Sigmoid"), (1, "Tanh")):
        onnx_graphs.write(path, [(gate, *step[1:]) if step[0] == "Sigmoid" else step for step in NETWORK], constants(seed=seed))
        found.append(read_model(str(path)))
    assert len({fingerprint(network) for network in found}) == len({weights_of(network) for network in found}) == 3
    assert fingerprint(read_model(str(path))) == fingerprint(found[-1])


def test_the_size_of_the_images_is_the_file_s(path: Path, tmp_path: Path) -> None:
    assert preprocessing(f"onnx:{path}") == preprocessing(str(path)) == (8, None, "bilinear")
    onnx_graphs.write(tmp_path / "any.onnx", NETWORK, constants(), shape=("batch", 3, "height", "width"))
    assert preprocessing(str(tmp_path / "any.onnx")).size == preprocessing("onnx:nowhere").size == 224
    model = onnx.load_model(path)
    model.graph.input.insert(0, helper.make_tensor_value_info("kernel", onnx.TensorProto.FLOAT, (4, 3, 3, 3)))  # as old files list weights
    path.write_bytes(model.SerializeToString())
    assert preprocessing(str(path)).size == 8


@pytest.mark.parametrize(("batch", "rows"), [(1, 1), (2, 2), (2, -1)], ids=["one", "two", "two, and any"])
def test_a_file_for_a_fixed_number_of_images_takes_any(batch: int, rows: int, tmp_path: Path) -> None:
    flat = (("Reshape", "x rows", "a", {}), ("Gemm", "a weight", "y", {"transB": 1}))
    values = {"rows": np.array([rows, 3 * 8 * 8]), "weight": np.random.default_rng(0).normal(size=(5, 3 * 8 * 8)).astype(np.float32)}
    onnx_graphs.write(tmp_path / "net.onnx", flat, values, shape=(batch, 3, 8, 8))
    x = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    logits = read_model(str(tmp_path / "net.onnx"))(x)
    weight = torch.from_numpy(values["weight"])
    torch.testing.assert_close(logits, x.flatten(1) @ weight.T)
    torch.testing.assert_close(torch.autograd.grad(logits.sum(), x)[0].flatten(1), weight.sum(0).expand(5, -1))


def test_bounds_need_a_file_for_any_number_of_images(tmp_path: Path, x: Tensor) -> None:
    flat, weight = (("Reshape", "x rows", "a", {}), ("Gemm", "a weight", "y", {"transB": 1})), np.ones((5, 3 * 8 * 8), dtype=np.float32)
    for rows in (-1, 1):
        onnx_graphs.write(tmp_path / f"{rows}.onnx", flat, {"rows": np.array([rows, 3 * 8 * 8]), "weight": weight}, shape=(1, 3, 8, 8))
    read_graph(read_model(str(tmp_path / "-1.onnx")), x)
    with pytest.raises(InputError, match=r"^model: written for 1 images at a time; accepted for bounds: a dynamic batch"):
        read_graph(read_model(str(tmp_path / "1.onnx")), x)


def test_a_file_that_mixes_the_images_of_its_batch_sees_as_many_as_it_is_for(tmp_path: Path, x: Tensor) -> None:
    mixed = (("ReduceMean", "x axes", "a", {"keepdims": 0}), ("Softmax", "a", "y", {"axis": 0}))
    onnx_graphs.write(tmp_path / "net.onnx", mixed, {"axes": np.array([2, 3])}, shape=(1, 3, 8, 8))
    torch.testing.assert_close(read_model(str(tmp_path / "net.onnx"))(x), torch.ones(3, 3))


def test_old_files_are_converted(tmp_path: Path, x: Tensor) -> None:
    values = constants() | {"zero": np.zeros(5, dtype=np.float32), "high": np.array(0.3, dtype=np.float32)}
    last = ("Gemm", "g weight zero", "y", {"transB": 1})
    new = [("ReduceMean", "d axes", "e", {}), ("Squeeze", "e axes", "f", {}), ("Clip", "f - high", "g", {}), last]
    onnx_graphs.write(tmp_path / "new.onnx", [*NETWORK[:5], *new], values)
    axes = {"axes": [2, 3]}
    old = [("ReduceMean", "d", "e", axes), ("Squeeze", "e", "f", axes), ("Clip", "f", "g", {"max": 0.3}), last]
    inputs = ("x", "kernel")  # old files list weights among the inputs
    onnx_graphs.write(tmp_path / "old.onnx", [*NETWORK[:5], *old], values, inputs=inputs, opset=9)
    torch.testing.assert_close(read_model(str(tmp_path / "old.onnx"))(x), onnx_logits(tmp_path / "new.onnx", x))


def test_tensors_beside_the_file_are_read(path: Path, x: Tensor) -> None:
    expected = onnx_logits(path, x)
    onnx.save_model(onnx.load_model(path), path, save_as_external_data=True, location="weights", size_threshold=0)
    assert (path.parent / "weights").exists()
    torch.testing.assert_close(read_model(str(path))(x), expected)


def test_functions_of_the_file_itself_are_read(path: Path, x: Tensor) -> None:
    model = onnx.load_model(path)
    twice = helper.make_function("own", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 20)])
    model.functions.append(twice)
    model.opset_import.append(helper.make_opsetid("own", 1))
    model.graph.node[-1].output[0] = "once"
    model.graph.node.append(helper.make_node("Twice", ["once"], ["y"], domain="own"))
    expected = 2 * onnx_logits(path, x)
    path.write_bytes(model.SerializeToString())
    torch.testing.assert_close(read_model(str(path))(x), expected)


def test_what_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    kept = constants()
    cases = {
        "Det, NonZero$": ([("Det", "x", "a", {}), ("NonZero", "a", "y", {})], {}),
        r"own\.Relu$": ([("Relu", "x", "y", {})], {"domain": "own"}),
        "MaxPool is not read as it is there .*'future'": ([("MaxPool", "x", "y", {"kernel_shape": [2, 2], "future": 1})], {}),
        "Relu is not read as it is there": ([("Relu", "x", "y", {"alpha": 1.0})], {}),
        "tensors of object such as 'text' are not read": (NETWORK, {"text": np.array(["a"], dtype=object)}),
        "has the inputs x, z; accepted: one input": ([("Add", "x z", "y", {})], {"inputs": ("x", "z")}),
        "has the outputs y, e; accepted: one output": (NETWORK, {"outputs": ("y", "e")}),
        "takes integers, as pixels of 0 to 255": ([("Cast", "x", "y", {"to": 1})], {"kind": onnx.TensorProto.UINT8}),
        "a Constant is read as numbers alone, not as value_string": ([("Constant", "", "y", {"value_string": "text"})], {}),
        "nothing in it makes 'gone' before": ([("Add", "x gone", "y", {})], {}),
        "nothing in it makes 'a' before": ([("Relu", "a", "y", {}), ("Relu", "x", "a", {})], {}),
        "nothing in it makes 'z' before": ([("Relu", "x", "y", {})], {"outputs": ("z",)}),
    }
    for message, (nodes, options) in cases.items():
        text = {"text": options.pop("text")} if "text" in options else {}
        onnx_graphs.write(path, nodes, kept | text, **options)
        with pytest.raises(InputError, match=f"^--model: .*{message}") as refused:
            read_model(str(path))
        one_line(refused)
    contents = {
        "is no ONNX file that can be read": b"\xff\x00\x93junk",
        "is text, as a web page": b"junk",
        "Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\n",
        "no ope": b"",
    }
    for message, content in contents.items():
        path.write_bytes(content)
        with pytest.raises(InputError, match=f"^--model: '{re.escape(str(path))}'.*{message}") as refused:
            read_model(f"onnx:{path}")
        one_line(refused)
    for name in ("onnx:nowhere", "nowhere.onnx"):
        with pytest.raises(InputError, match="^--model: no file 'nowhere"):
            read_model(name)
    with pytest.raises(InputError, match=r"^--weights: a file such as '.*net.onnx' has weights of its own"):
        read_model(str(path), weights=path)


def test_without_the_library_the_extra_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(InputError, match=r"^--model: onnx:FILE needs onnx, .*pip install 'logitpair\[onnx\]'$"):
        read_model(str(path))
