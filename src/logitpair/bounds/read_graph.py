"""Reads a network's operations from its code, by tracing it."""

from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils import parametrize

from logitpair.bounds.graph import Graph, Step
from logitpair.bounds.interval import intervals
from logitpair.bounds.operations import BatchNorm, Interval, Sum
from logitpair.bounds.recognise import JOINS, of_function, of_module
from logitpair.errors import InputError, first_line, is_out_of_memory
from logitpair.models.inference import Images, frozen_eval
from logitpair.storage.model_fingerprint import HOOKS

ACCEPTED = (
    "accepted: Linear, Conv2d, BatchNorm, ReLU, LeakyReLU, poolings, reshapes, sums, joins, padding with zeros, arithmetic with constants"
)
UNCHANGED = {"contiguous", "clone", "detach", "Identity", "Dropout", "Dropout1d", "Dropout2d", "dropout", "dropout2d", "feature_dropout"}
KNOWN_BEFORE = (int, torch.Size, torch.dtype, torch.device)  # what the functions below return is the same for every image
READS = {"getattr", "size", "dim", "ndimension", "numel", "nelement", "stride", "is_floating_point", "is_complex", "is_contiguous"}


def read_graph(model: nn.Module, x: Images, *, trained: bool = False) -> Graph:
    """Read a network as it runs in eval mode.

    The operations keep the network's modules and parameters and use the weights that these have when bounds are computed.

    Args:
        model: maps images to logits.
        x: an image such as it takes, ``[1, channels, height, width]``, in the dtype of its weights.
        trained: whether weights will change and BatchNorms will be in train mode: what bounds could not follow is refused.

    Raises:
        InputError: for an operation that no bounds are known of, named; for code that torch.fx cannot trace, such as branches on values;
            for forward hooks and modules called otherwise than their class says; or if the operations, run one after another, do not give
            the network's logits, or these are not finite.
    """
    if not trained:  # bounds in training are no proof
        _refuse_what_tracing_skips(model)
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
            if is_out_of_memory(error):
                raise
            raise InputError(f"model: cannot be read for bounds, since torch.fx cannot trace it: {first_line(error)}") from error
        if not logits.isfinite().all():
            raise InputError(
                f"model: cannot be read for bounds, since its logits are not all finite in {str(x.dtype).removeprefix('torch.')}"
            )
        if found.shape != logits.shape or not torch.allclose(found, logits, rtol=1e-3, atol=1e-3 * float(logits.abs().max())):
            raise InputError("model: cannot be read for bounds: run operation by operation, or image by image, it gives other logits")
    return graph


def _refuse_what_tracing_skips(model: nn.Module) -> None:
    """Refuse what may change what a module returns and is not in its class's ``forward``; hooks of ``torch.nn.utils`` set weights alone."""
    if any(getattr(torch.nn.modules.module, f"_global{kind}") for kind in HOOKS):
        raise InputError("model: cannot be read for bounds, since a forward hook is registered for all modules; remove it")
    for name, module in model.named_modules():
        hooks = [hook for kind in HOOKS for hook in vars(module).get(kind, {}).values()]
        found = None
        if any(not type(hook).__module__.startswith("torch.nn.utils.") for hook in hooks):
            found = "a forward hook"
        elif "forward" in vars(module):
            found = "a 'forward' that is not its class's"
        elif type(module).__call__ is not nn.Module.__call__ and not isinstance(module, fx.GraphModule):
            found = "a '__call__' of its own"
        if found:
            where = f"'{name}'" if name else "it"
            raise InputError(f"model: cannot be read for bounds, since {where} has {found}, which bounds know nothing of; remove it")


class _Value(fx.Proxy):
    """What stands for a value in tracing; attributes that a network sets of it, such as ``data``, would be lost."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in ("node", "tracer"):
            raise TypeError(f"'{name}' of a tensor is set")
        super().__setattr__(name, value)


class _Tracer(fx.Tracer):
    """Goes into every module that is not PyTorch's own."""

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Value(node, self)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        own = parametrize.type_before_parametrizations(m)
        return own.__module__.startswith("torch.nn.") and not isinstance(m, nn.Sequential)


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
        versions = {node: self.env[node]._version for node in self.number if node in self.env}  # which all views of a tensor share
        value = super().run_node(n)
        if n.op == "placeholder":
            self.number[n] = 0
            self.shapes.append(tuple(value.shape[1:]))
        elif n.op == "output":
            self.last = self.number.get(n.args[0], -1)  # type: ignore[arg-type]
        elif any(node in self.number for node in n.all_input_nodes):
            if not (isinstance(value, KNOWN_BEFORE) and _name(n.target) in READS and _is_pytorchs(n)):
                self._note(n, value)
                self._rename_what_changed([node for node, version in versions.items() if self.env[node]._version != version], n)
        elif isinstance(value, nn.Parameter) or any(node in self.weights for node in n.all_input_nodes):
            self.weights.add(n)
        return value

    def _note(self, n: fx.Node, value: Any) -> None:
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        module = self.fetch_attr(str(n.target)) if n.op == "call_module" else None
        name = type(module).__name__ if module is not None else _name(n.target)
        sources: list[fx.Node] = []  # one twice that is given twice
        fx.map_arg((n.args, n.kwargs), lambda node: sources.append(node) if node in self.number else None)
        given = [node if isinstance(node, fx.Node) and node in self.number else arg for node, arg in zip(n.args, args, strict=True)]
        if name in UNCHANGED and _is_pytorchs(n):
            self.number[n] = self.number[sources[0]]
            return
        if self.trained:
            self._refuse_what_training_changes(n, name, module)
        operation = None
        if isinstance(value, Tensor) and _is_pytorchs(n):
            operation = of_module(module, value) if module is not None else of_function(name, n.target, given, args, kwargs, value)
        if isinstance(value, Tensor) and value.shape[:1] != (2,):
            raise InputError(f"model: cannot be read for bounds, since {name} (in {n.name}) does not keep the images of a batch apart")
        wanted = len(args[0] if args else kwargs["tensors"]) if name in JOINS else 2 if isinstance(operation, Sum) else 1
        if operation is None or len(sources) != wanted:
            raise InputError(f"model: no bounds are known of {name} (in {n.name}); {ACCEPTED}")
        self.steps.append(Step(operation, tuple(self.number[node] for node in sources)))
        self.shapes.append(tuple(value.shape[1:]))
        self.number[n] = len(self.steps)

    def _rename_what_changed(self, changed: list[fx.Node], n: fx.Node) -> None:
        """Whoever later uses what an operation changed in place finds its output there; refused where others see it in another shape."""
        if len({self.number[node] for node in changed}) > 1:
            raise InputError(f"model: cannot be read for bounds, since {_name(n.target)} (in {n.name}) changes in place what is used in "
                             "another shape too; let it return a new tensor")  # fmt: skip
        self.number |= dict.fromkeys(changed, self.number[n])

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


def _is_pytorchs(n: fx.Node) -> bool:
    """Whether a function is PyTorch's or Python's own, and not another of the same name; modules and methods of tensors are."""
    return n.op != "call_function" or (getattr(n.target, "__module__", None) or "torch").partition(".")[0] in (
        "torch",
        "_operator",
        "builtins",
    )


def _name(target: Any) -> str:
    """Of a function, or of a tensor's method, which is a name already."""
    return getattr(target, "__name__", str(target))


def _needed(graph: Graph) -> Graph:
    """The graph without the steps whose values do not reach the logits."""
    kept = {0, graph.logits}
    for number in range(graph.logits, 0, -1):
        kept |= set(graph.steps[number - 1].inputs) if number in kept else set()
    renumbered = {number: new for new, number in enumerate(sorted(kept))}
    left = [step for number, step in enumerate(graph.steps, 1) if number in kept]
    steps = [Step(step.operation, tuple(renumbered[source] for source in step.inputs)) for step in left]
    return Graph(tuple(steps), tuple(graph.shapes[number] for number in sorted(kept)))
