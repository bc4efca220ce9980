"""Reads a network's operations from its code, by tracing it."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from logitpair.bounds.graph import Graph, Step
from logitpair.bounds.interval import intervals
from logitpair.bounds.operations import (
    Affine,
    Arithmetic,
    BatchNorm,
    Conv2d,
    Interval,
    LeakyReLU,
    Linear,
    MaxPool2d,
    Nonlinear,
    NonnegativeLinear,
    Sum,
)
from logitpair.errors import InputError, first_line
from logitpair.models.inference import Images, frozen_eval
from logitpair.storage.model_fingerprint import HOOKS

ACCEPTED = (
    "accepted: Linear, Conv2d, BatchNorm, ReLU, LeakyReLU, poolings, reshapes, sums, joins, padding with zeros, arithmetic with constants"
)
UNCHANGED = {"contiguous", "clone", "detach", "Identity", "Dropout", "Dropout1d", "Dropout2d", "dropout", "dropout2d", "feature_dropout"}
RESHAPES = {"view", "reshape", "flatten", "Flatten", "Unflatten", "unflatten", "squeeze", "unsqueeze"}
AVERAGES = {"AvgPool2d", "AdaptiveAvgPool2d", "ZeroPad2d", "avg_pool2d", "adaptive_avg_pool2d", "mean", "cat", "concat"}
RELUS = {"ReLU", "relu", "relu_"}
LEAKY_RELUS = {"LeakyReLU", "leaky_relu", "leaky_relu_"}
SIGNS = {"add": 1, "iadd": 1, "add_": 1, "sub": -1, "isub": -1, "sub_": -1}
FACTORS = {"mul", "imul", "mul_", "truediv", "itruediv", "div", "div_"}
KNOWN_BEFORE = (int, torch.Size, torch.dtype, torch.device)  # of what is computed from an image, these are the same for every image


def read_graph(model: nn.Module, x: Images, *, trained: bool = False) -> Graph:
    """Read a network as it runs in eval mode.

    The operations keep the network's modules and parameters and use the weights that these have when bounds are computed.

    Args:
        model: maps images to logits.
        x: an image such as it takes, ``[1, channels, height, width]``, in the dtype of its weights.
        trained: whether weights will change and BatchNorms will be in train mode: what bounds could not follow is refused.

    Raises:
        InputError: for an operation that no bounds are known of, named; for code that torch.fx cannot trace, such as branches on values;
            for forward hooks; or if the operations, run one after another, do not give the network's logits, or these are not finite.
    """
    if not trained:  # bounds in training are no proof
        _refuse_hooks(model)
    pair = torch.cat([x[:1], 1 - x[:1]])
    with torch.no_grad(), frozen_eval(model):
        try:
            reader = _Reader(fx.GraphModule(model, _Tracer().trace(model)), trained)
            reader.run(pair.clone())
            graph = reader.found()
            found = intervals(graph, Interval(pair, pair))[-1].lower
            logits = torch.cat([model(image.clone()) for image in pair.split(1)])  # alone: what mixes a batch shows
        except InputError as error:  # the interpreter adds lines to what is raised within it
            raise InputError(first_line(error)) from None
        except Exception as error:  # the network's own code runs on placeholders, and may raise anything
            raise InputError(f"model: cannot be read for bounds, since torch.fx cannot trace it: {first_line(error)}") from error
        if not logits.isfinite().all():
            raise InputError(
                f"model: cannot be read for bounds, since its logits are not all finite in {str(x.dtype).removeprefix('torch.')}"
            )
        if not torch.allclose(found, logits, rtol=1e-3, atol=1e-3 * float(logits.abs().max())):
            raise InputError("model: cannot be read for bounds: run operation by operation, or image by image, it gives other logits")
    return graph


def _refuse_hooks(model: nn.Module) -> None:
    """Refuse hooks that may change what a module returns, which tracing does not run; those of ``torch.nn.utils`` set weights alone."""
    for name, module in model.named_modules():
        hooks = [hook for kind in HOOKS for hook in vars(module).get(kind, {}).values()]
        if any(not type(hook).__module__.startswith("torch.nn.utils.") for hook in hooks):
            where = f"'{name}'" if name else "it"
            raise InputError(f"model: cannot be read for bounds, since {where} has a forward hook, which bounds know nothing of; remove it")


class _Parameters:
    """What a function is given, where a module would have it."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


class _Tracer(fx.Tracer):
    """Goes into every module that is not PyTorch's own."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m).__module__.startswith("torch.nn.") and not isinstance(m, nn.Sequential)


class _Reader(fx.Interpreter):
    """Runs a traced network on images and notes the operation behind each value that depends on them."""

    def __init__(self, traced: fx.GraphModule, trained: bool) -> None:
        super().__init__(traced)
        self.trained = trained
        self.steps: list[Step] = []
        self.shapes: list[tuple[int, ...]] = []
        self.number: dict[fx.Node, int] = {}  # of the step whose value a node has
        self.weights: set[fx.Node] = set()  # parameters, and what is computed from them alone
        self.last = -1

    def found(self) -> Graph:
        """What was read."""
        if self.last < 1 or len(self.shapes[self.last]) != 1:
            raise InputError("model: must return logits, and nothing else, to be read for bounds")
        return _needed(Graph(tuple(self.steps[: self.last]), tuple(self.shapes[: self.last + 1])))

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n.op == "placeholder":
            self.number[n] = 0
            self.shapes.append(tuple(value.shape[1:]))
        elif n.op == "output":
            self.last = self.number.get(n.args[0], -1)  # type: ignore[arg-type]
        elif not isinstance(value, KNOWN_BEFORE) and any(node in self.number for node in n.all_input_nodes):
            self._note(n, value)
        elif isinstance(value, nn.Parameter) or any(node in self.weights for node in n.all_input_nodes):
            self.weights.add(n)
        return value

    def _note(self, n: fx.Node, value: Any) -> None:
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        module = self.fetch_attr(str(n.target)) if n.op == "call_module" else None
        name = type(module).__name__ if module is not None else getattr(n.target, "__name__", str(n.target))
        sources = [node for node in n.all_input_nodes if node in self.number]
        given = [node if isinstance(node, fx.Node) and node in self.number else arg for node, arg in zip(n.args, args, strict=True)]
        if name in UNCHANGED:
            self.number[n] = self.number[sources[0]]
            return
        if self.trained:
            self._refuse_what_training_changes(n, name, module)
        operation = None
        if isinstance(value, Tensor):
            operation = _of_module(module, value) if module is not None else _of_function(name, n.target, given, args, kwargs, value)
        if operation is None:
            raise InputError(f"model: no bounds are known of {name} (in {n.name}); {ACCEPTED}")
        if isinstance(operation, Sum) and len(sources) == 1:  # x + x
            sources *= 2
        self.steps.append(Step(operation, tuple(self.number[node] for node in sources)))
        self.shapes.append(tuple(value.shape[1:]))
        self.number[n] = len(self.steps)
        if getattr(module, "inplace", False) or kwargs.get("inplace") or name.endswith("_") or name in ("iadd", "isub", "imul"):
            self.number[sources[0]] = len(self.steps)  # whoever uses the input later finds the output there

    def _refuse_what_training_changes(self, n: fx.Node, name: str, module: nn.Module | None) -> None:
        computed = [node.name for node in n.all_input_nodes if node in self.weights and node.op != "get_attr"]
        if computed:
            raise InputError(f"model: bounds in training would keep the first value of {computed[0]}, which {name} takes and which is "
                             "computed from weights; accepted: parameters as they are, and torch.nn.utils.parametrizations")  # fmt: skip
        again = isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and any(
            isinstance(step.operation, BatchNorm) and step.operation.module is module for step in self.steps
        )
        if again or (module is None and name == "batch_norm"):
            which = f"{n.target}, which is called twice" if again else "torch.nn.functional.batch_norm"
            raise InputError(f"model: bounds in training cannot follow {which}; accepted: a BatchNorm module for each call")


def _needed(graph: Graph) -> Graph:
    """The graph without the steps whose values do not reach the logits."""
    kept = {0, graph.logits}
    for number in range(graph.logits, 0, -1):
        kept |= set(graph.steps[number - 1].inputs) if number in kept else set()
    renumbered = {number: new for new, number in enumerate(sorted(kept))}
    left = [step for number, step in enumerate(graph.steps, 1) if number in kept]
    steps = [Step(step.operation, tuple(renumbered[source] for source in step.inputs)) for step in left]
    return Graph(tuple(steps), tuple(graph.shapes[number] for number in sorted(kept)))


def _of_module(module: nn.Module, value: Tensor) -> Affine | Nonlinear | None:
    match module:
        case nn.Linear():
            return Linear(module)
        case nn.Conv2d():
            return _convolution(module, module.padding, module.padding_mode)
        case nn.BatchNorm1d() | nn.BatchNorm2d():
            return BatchNorm(module) if module.running_mean is not None else None
        case nn.MaxPool2d():
            return _max_pool(module.kernel_size, module.stride, module.padding, module.dilation, module.ceil_mode)
        case nn.LeakyReLU():
            return _leaky_relu(module.negative_slope)
        case nn.ReLU():
            return LeakyReLU()
        case _:
            name = type(module).__name__
            return NonnegativeLinear(module) if name in AVERAGES else _reshape(value) if name in RESHAPES else None


def _of_function(
    name: str, target: Any, given: Sequence[Any], args: Sequence[Any], kwargs: dict[str, Any], value: Tensor
) -> Affine | Nonlinear | None:
    """The operation of a function or method; in ``given`` the nodes of the graph stand for what depends on the image."""
    if name in RESHAPES:
        return _reshape(value)
    if name in RELUS:
        return LeakyReLU()
    if name in LEAKY_RELUS:
        return _leaky_relu(*args[1:2], **{key: kwargs[key] for key in kwargs.keys() & {"negative_slope"}})
    if name in ("cat", "concat"):
        dim = kwargs.get("dim", args[1] if len(args) > 1 else 0)
        return NonnegativeLinear(lambda *x: torch.cat(x, dim)) if dim else None
    if name in AVERAGES:
        return NonnegativeLinear(_with_arguments(target, args[1:], kwargs))
    if name == "pad":
        settings = dict(zip(("pad", "mode", "value"), args[1:], strict=False)) | kwargs
        zeros = settings.get("mode", "constant") == "constant" and not settings.get("value")
        return NonnegativeLinear(partial(F.pad, pad=settings["pad"])) if zeros else None
    if name in ("max_pool2d", "boolean_dispatch"):
        return _max_pool(*args[1:6], **{key: kwargs[key] for key in kwargs if key != "return_indices"})
    if name == "linear":
        return Linear(_Parameters(weight=args[1], bias=_third(args, kwargs)))
    if name == "conv2d":
        defaults: dict[str, Any] = {"bias": None, "stride": 1, "padding": 0, "dilation": 1, "groups": 1}
        settings: dict[str, Any] = defaults | dict(zip(("weight", *defaults), args[1:], strict=False)) | kwargs
        pairs = {key: _pair(settings[key]) for key in ("stride", "dilation")} | {"kernel_size": tuple(settings["weight"].shape[2:])}
        return _convolution(_Parameters(**settings | pairs), settings["padding"])
    if name == "batch_norm":
        settings = dict(zip(("mean", "var", "weight", "bias", "training", "momentum", "eps"), args[1:], strict=False))
        settings |= {key.removeprefix("running_"): content for key, content in kwargs.items()}
        norm = _Parameters(
            running_mean=settings["mean"],
            running_var=settings["var"],
            weight=settings.get("weight"),
            bias=settings.get("bias"),
            eps=settings.get("eps", 1e-5),
            spatial=value.ndim == 4,
        )
        return BatchNorm(norm)
    return _arithmetic(name, given, kwargs, value)


def _arithmetic(name: str, given: Sequence[Any], kwargs: dict[str, Any], value: Tensor) -> Affine | Nonlinear | None:
    """Sums, and sums and products with constants; None for anything else."""
    if name in ("neg", "neg_"):
        return Arithmetic(value.new_tensor(-1), _times)
    if len(given) != 2 or kwargs or name not in SIGNS.keys() | FACTORS:
        return None
    left, right = given
    if isinstance(left, fx.Node) and isinstance(right, fx.Node):
        return Sum(SIGNS[name]) if name in SIGNS else None
    constant = torch.as_tensor(right if isinstance(left, fx.Node) else left, dtype=value.dtype, device=value.device)
    if constant.ndim == value.ndim and len(constant) != 1:
        return None
    image_first, sign = isinstance(left, fx.Node), SIGNS.get(name, 0)
    if sign:
        signs = (1, sign) if image_first else (sign, 1)
        return Arithmetic(constant, lambda c: (signs[0] * c.new_ones(()), signs[1] * c))
    if "div" in name:
        return Arithmetic(constant, lambda c: _times(1 / c)) if image_first else None
    return Arithmetic(constant, _times)


def _times(constant: Tensor) -> tuple[Tensor, Tensor]:
    return constant, constant.new_zeros(())


def _with_arguments(target: Any, rest: Sequence[Any], kwargs: dict[str, Any]) -> Callable[..., Tensor]:
    """A function of its first argument alone; ``target`` is a function, or the name of a tensor's method."""

    def function(x: Tensor) -> Tensor:
        return getattr(x, target)(*rest, **kwargs) if isinstance(target, str) else target(x, *rest, **kwargs)

    return function


def _reshape(value: Tensor) -> NonnegativeLinear:
    return NonnegativeLinear(partial(_reshaped, shape=tuple(value.shape[1:])))


def _reshaped(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    return x.reshape(len(x), *shape)


def _leaky_relu(negative_slope: float = 0.01) -> LeakyReLU | None:
    return LeakyReLU(negative_slope) if 0 <= negative_slope < 1 else None


def _convolution(module: Any, padding: Any, padding_mode: str = "zeros") -> Conv2d | None:
    """The convolution with its padding as two numbers; None where it pads by other than zeros, or by one more on one side."""
    if padding == "same":
        beyond = [step * (kernel - 1) for step, kernel in zip(module.dilation, module.kernel_size, strict=True)]
        if any(total % 2 for total in beyond):
            return None
        padding = tuple(total // 2 for total in beyond)
    return Conv2d(module, (0, 0) if padding == "valid" else _pair(padding)) if padding_mode == "zeros" else None


def _max_pool(kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False) -> MaxPool2d | None:
    settings = {"kernel_size": _pair(kernel_size), "stride": _pair(stride or kernel_size)}
    return None if ceil_mode else MaxPool2d(settings | {"padding": _pair(padding), "dilation": _pair(dilation)})


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


def _third(args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    return args[2] if len(args) > 2 else kwargs.get("bias")
