"""The certificate: for which images no perturbation in the threat model can change the network's decision."""

import copy
import hashlib
import json
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor, nn

from logitpair.attacks import PGD, Attack, IteratedLocalSearch
from logitpair.bounds.ball import Ball
from logitpair.bounds.graph import Graph
from logitpair.bounds.interval import intervals
from logitpair.bounds.operations import Interval
from logitpair.bounds.read_graph import read_graph
from logitpair.certification.margins import ROUNDING, STAGES, Effort, margin_bounds
from logitpair.certification.result import Certificate
from logitpair.data import Data, check_data, fingerprint as fingerprint_of_data
from logitpair.errors import InputError, first_line, is_out_of_memory
from logitpair.evaluation.confidence import accuracy
from logitpair.evaluation.evaluate import provenance
from logitpair.evaluation.resumable import Chunk, Execution, check_shared, resumable_map
from logitpair.models.inference import check_accepts, compute_logits, device_of, frozen_eval, predict
from logitpair.rng import ExampleStreams, derive_seed, uniform_like
from logitpair.runtime import clock
from logitpair.runtime.distributed import ALONE, World, unwrap_model
from logitpair.runtime.precision import full_precision
from logitpair.storage.class_path import describe
from logitpair.storage.ledger import FACTS, MISCLASSIFIED, PartialLedger, merge, total
from logitpair.storage.model_fingerprint import fingerprint
from logitpair.storage.results import BRANCHES, CERTIFICATE_METHODS, MOST_BRANCHES, SCHEMA, Accuracy, CertificateMethod, CertificateResults
from logitpair.threat import Threat, check_threat
from logitpair.validate import check_batch, check_labels, check_model, check_seed, positive, whole

TOO_SMALL = (
    "model: its logits are below 0.00005 in size, too small for a margin to count; multiplied by a number they give the same classes"
)
SAME = 1e-7  # of the largest logit: what an order of operations may change in float64
UNDECIDED, BROKEN = -1, -3  # in place of the method that certified an image: none did; an attack broke it, so that none can


def certify(
    model: nn.Module,
    data: Data,
    *,
    threat: Threat,
    method: str = "crown",
    iterations: int = 30,
    branches: int = BRANCHES,
    seed: int = 0,
    batch_size: int = 256,
    workers: int = 0,
    folder: Path | str | None = None,
    world: World = ALONE,
    progress: bool = True,
) -> Certificate:
    """Find for each example whether any image in the ball and the box is misclassified: certified, or not decided.

    The methods run from the cheapest up to ``method``, each on what is not decided yet: ``ibp`` (interval bounds, arXiv 1810.12715),
    ``crown-ibp`` (linear bounds with interval bounds for inner layers, arXiv 1906.06316), ``crown`` (linear bounds throughout, arXiv
    1811.00866), ``alpha-crown`` (slopes optimised, arXiv 2011.13824), ``beta-crown`` (branch and bound, arXiv 2103.06624). The last layer
    is merged with the differences of logits. What an attack breaks is not bounded any further: a short PGD before ``crown-ibp``, a local
    search of a hundred gradients before ``crown``. The ball is that of every image that ``threat.contains`` accepts, rounding included.
    Bounds are computed in float64, and a margin counts only if it is above 0.0001 times
    one more than the largest logit, which is far more than rounding does to a network that is run in float32.

    Args:
        model: maps images in [0, 1] to logits, of operations that bounds are known of; run in eval mode, and left as it was.
        data: ``(x, y)``, a ``Dataset``, or, if no folder is given, a ``DataLoader``.
        threat: the ball, such as ``lp.Linf(0.3)``.
        method: the most expensive method.
        iterations: of the slopes' ascent in ``alpha-crown``.
        branches: parts of an image's ball that ``beta-crown`` bounds at most, up to 100,000; all open ones are held in memory.
        seed: of the attack's randomness.
        batch_size: images worked on together, and half as many once the memory is too small; that of bounds is limited besides.
        workers: processes that load images; 0 for data held in memory.
        folder: where the work in progress is kept until ``Certificate.save`` into it, so that the same call after an interruption resumes.
        world: the processes that share the work; they need a ``folder`` that all of them see.
        progress: show a progress bar.

    Raises:
        InputError: for empty or invalid data, an eps of 0, or a model that returns no logits or has an operation without known bounds.

    Departure: ``alpha-crown`` optimises the slopes of the last bound alone, not those of inner layers' bounds.
    """
    began = time.perf_counter()
    check_model("model", model)
    check_threat(threat)
    positive("threat: eps", threat.eps)
    if method not in CERTIFICATE_METHODS:
        raise InputError(f"method: no method '{method}'; accepted: {', '.join(CERTIFICATE_METHODS)}")
    for name, value, least in (
        ("iterations", iterations, 1),
        ("branches", branches, 2),
        ("batch_size", batch_size, 1),
        ("workers", workers, 0),
    ):
        whole(name, value, least)
    if branches > MOST_BRANCHES:
        raise InputError(f"branches must be at most {MOST_BRANCHES:,}, not {branches}")
    check_seed("seed", seed)
    iterations, branches, seed = int(iterations), int(branches), int(seed)  # as they are written down, also of numpy's
    check_data(data)
    check_shared(folder, world)
    data_key = fingerprint_of_data(data)
    if folder and data_key is None:
        raise InputError("data: a DataLoader or a stream has no order to resume by; pass its Dataset, or give no folder")
    methods = CERTIFICATE_METHODS[: CERTIFICATE_METHODS.index(method) + 1]
    inputs = [data_key, fingerprint(model), describe(threat), methods, iterations, branches, seed]
    key = json.dumps([SCHEMA, ROUNDING, version("logitpair"), *inputs])
    cache_key = hashlib.sha256(key.encode()).hexdigest()[:16]
    partial = PartialLedger(Path(folder), cache_key) if folder is not None else None
    device = device_of(model)
    inner = unwrap_model(model.module if isinstance(model, nn.DataParallel) else model)
    exact_model = _in_dtype(_copied(inner), torch.float64)
    quick_model = _in_dtype(_copied(inner), torch.float32) if "alpha-crown" in methods else None
    short = PGD(threat, step_size=threat.eps / 8, steps=20)
    longer = IteratedLocalSearch(threat, chains=3, kicks=2, steps=10, first_steps=14)
    attacks, effort = (None, short, longer), Effort(iterations, branches)  # attacks: one before each stage
    graphs: tuple[Graph, Graph | None] | None = None

    def work(x: Tensor, y: Tensor, position: Tensor) -> Chunk:
        nonlocal graphs
        check_batch(x, y)
        if graphs is None:
            check_accepts("model", model, x)
            graphs = _read(exact_model, x[:1].double()), None if quick_model is None else _read(quick_model, x[:1].float())
        exact, quick = graphs
        own, logits = compute_logits(model, x), compute_logits(exact_model, x.double())
        _check_exact(logits, own)
        if (2 - ROUNDING) * logits.abs().amax() <= ROUNDING:  # no margin is above twice the largest logit
            warnings.warn(TOO_SMALL, stacklevel=1)
        lower, upper = Ball(threat, x.double()).box
        sides = uniform_like(lower, ExampleStreams(derive_seed(seed, "certificate/corner"), position)) < 0.5
        _check_graph(exact, x.double(), logits)
        for corner in (torch.where(sides, lower, upper), torch.where(sides, upper, lower)):
            _check_graph(exact, corner, compute_logits(exact_model, corner))
        prediction = predict(own)
        check_labels(y, logits.shape[1])
        decided = torch.where(prediction == y, UNDECIDED, MISCLASSIFIED)
        bound = torch.full_like(logits[:, 0], -torch.inf)
        facts: dict[str, Tensor | float] = {f"{FACTS}classes": logits.shape[1]}
        for stage, attack in zip(STAGES, attacks, strict=True):
            if not (names := tuple(name for name in stage if name in methods)):
                break
            started = clock.now(device)
            if attack is not None and len(left := (decided == UNDECIDED).nonzero()[:, 0]):
                streams = ExampleStreams(derive_seed(seed, f"certificate/{names[0]}"), position[left.cpu()])
                x_adv = _found(attack, model, x[left], y[left], streams)
                broken = (predict(compute_logits(model, x_adv)) != y[left]) & threat.contains(x_adv, x[left])
                decided[left[broken]] = BROKEN
            seconds = [clock.now(device) - started, *[0.0] * (len(names) - 1)]
            if len(left := (decided == UNDECIDED).nonzero()[:, 0]):
                found, spent = margin_bounds(exact, quick, threat.accepting(x), x[left].double(), y[left], logits[left], names, effort)
                seconds = [sum(both) for both in zip(seconds, spent, strict=True)]
                bound[left] = torch.maximum(bound[left], found.amax(0))
                certifies = found > 0
                first = methods.index(names[0]) + certifies.to(torch.uint8).argmax(0)
                decided[left] = torch.where(certifies.any(0), first, decided[left])
            facts |= {f"{FACTS}seconds/{name}": each for name, each in zip(names, seconds, strict=True)}
        return {"y": y, "prediction": prediction, "certified_by": decided, "bound": bound, **facts}

    how = Execution(device, batch_size, workers, world, progress)
    with frozen_eval(model), torch.no_grad(), full_precision(device):
        chunks = resumable_map(work, data, "certify", how, note=method, partial=partial)
        origin = provenance(model, device, world, began)
    if not chunks:
        raise InputError("data: holds no examples")
    columns = merge(chunks)
    by = columns["certified_by"]
    record = CertificateResults(
        name="certificate",
        **origin,
        examples=len(by),
        classes=int(chunks[0][f"{FACTS}classes"]),
        seed=seed,
        precision="float64",
        cache_key=cache_key if partial else None,
        threat=describe(threat),
        images=data_key,
        clean=Accuracy(**accuracy(by != MISCLASSIFIED)),
        certified=Accuracy(**accuracy(by >= 0)),
        broken=int((by == BROKEN).sum()),
        branches=branches if "beta-crown" in methods else None,
        methods=tuple(
            CertificateMethod(name=name, certified=int((by == number).sum()), seconds=round(total(chunks, f"seconds/{name}"), 3))
            for number, name in enumerate(methods)
        ),
    )
    return Certificate(record, columns)


def _found(attack: Attack, model: nn.Module, x: Tensor, y: Tensor, streams: ExampleStreams) -> Tensor:
    """What an attack finds; the images where the network's own code gives no gradient, which bounds do not need."""
    try:
        return attack.find_unchecked(model, x, y, streams).x_adv
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        return x


def _copied(model: nn.Module) -> nn.Module:
    """A frozen copy in eval mode, whose dtype may be changed."""
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        raise InputError("model: bounds are read from Python code, and a scripted or traced network has none; "
                         "accepted: the nn.Module that it was made of")  # fmt: skip
    try:
        return copy.deepcopy(model).eval().requires_grad_(False)
    except TypeError as error:
        raise InputError(f"model: cannot be copied: {first_line(error)}") from error
    except RuntimeError as error:
        raise InputError(
            f"model: cannot be copied: {first_line(error).partition('. ')[0]}; where a tensor of it is computed from others, use "
            "torch.nn.utils.parametrizations for torch.nn.utils.weight_norm, and torch.nn.utils.prune.remove after pruning"
        ) from error


def _in_dtype(copied: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The copy in this dtype, the tensors that are attributes of its modules and neither parameters nor buffers too."""
    copied = copied.double() if dtype == torch.float64 else copied.float()  # which leave complex numbers alone, as ``to`` does not
    for module in copied.modules():
        tensors = {name: value for name, value in vars(module).items() if isinstance(value, Tensor) and value.is_floating_point()}
        vars(module).update({name: value.detach().to(dtype) for name, value in tensors.items()})
    return copied


def _read(copied: nn.Module, x: Tensor) -> Graph:
    """The operations of the copy, refused where a part of the network, such as a tensor in a list, has kept the dtype of the original."""
    try:
        compute_logits(copied, x)
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        raise InputError(
            f"model: its copy in {str(x.dtype).removeprefix('torch.')}, which bounds need, does not run ({first_line(error)}); "
            "accepted: floating-point tensors that are parameters, buffers or attributes of modules"
        ) from error
    return read_graph(copied, x)


def _check_exact(exact: Tensor, logits: Tensor) -> None:
    """Refuse a network whose copy in float64, which bounds are of, differs from it by more than a tenth of what a margin must exceed."""
    apart, allowed = (exact - logits).abs().amax(1), ROUNDING / 10 * (1 + exact.abs().amax(1))
    if (apart > allowed).any():
        raise InputError(f"model: its logits are up to {float(apart.max()):.2g} away from those of a copy in float64, which bounds are of; "
                         "accepted: networks that compute in float32 or float64, and the same in every call")  # fmt: skip


def _check_graph(graph: Graph, x: Tensor, logits: Tensor) -> None:
    """Refuse operations that give other logits, both in float64: tracing has missed something."""
    found = intervals(graph, Interval(x, x))[-1].lower
    if ((found - logits).abs() > SAME * (1 + logits.abs().amax(1, keepdim=True))).any():
        raise InputError("model: cannot be read for bounds: run operation by operation, it gives other logits near some of the images")
