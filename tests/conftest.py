"""What all tests share: shape annotations checked at run time, warnings as errors, a few small models and batches."""

from __future__ import annotations

import functools
import inspect
import os
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import jaxtyping
import pytest
from beartype import BeartypeConf, beartype
from beartype.roar import BeartypeDecorHintPep673Exception
from filelock import FileLock
from hypothesis import settings

# the same examples in each run, and as much time for them as a busy machine takes
settings.register_profile("logitpair", derandomize=True, deadline=None)
settings.load_profile("logitpair")


checked_in_this_test: list[Callable] = []  # and not to be checked again in it


def check_types(function: Callable, of: Callable | None = None) -> Callable:
    """beartype, except for functions annotated with ``Self``: jaxtyping hands it one method at a time, and it wants the class.

    The function ``of`` is checked at its first call in each test: every step of a loop would take a third of the tests' time.
    Placeholders of ``torch.fx``, which traces a network by them, pass.
    """
    try:
        checked = beartype(conf=BeartypeConf(is_pep484_tower=True))(function)  # an int is a float, as PEP 484 says
    except BeartypeDecorHintPep673Exception:
        return function

    @functools.wraps(function)
    def unless_traced(*args: object, **kwargs: object) -> object:
        if of is not None:
            of.__no_type_check__ = True  # which jaxtyping looks for at every call
            checked_in_this_test.append(of)
        traced = any(isinstance(value, torch.fx.Proxy) for value in (*args, *kwargs.values()))
        return (function if traced else checked)(*args, **kwargs)

    return unless_traced


def jaxtyped(function: Callable | type | None = None, *, typechecker: Callable, decorate: Callable = jaxtyping.jaxtyped) -> Callable | type:
    """jaxtyping's decorator, which tells the check what function it is of."""
    if function is None:
        return functools.partial(jaxtyped, typechecker=typechecker)
    return decorate(function, typechecker=functools.partial(typechecker, of=None if inspect.isclass(function) else function))


def pytest_runtest_setup() -> None:
    while checked_in_this_test:
        vars(checked_in_this_test.pop()).pop("__no_type_check__", None)


if any(name == "logitpair" or name.startswith("logitpair.") for name in sys.modules):
    raise RuntimeError("logitpair was imported before the shape checks were installed")
sys.modules["logitpair_type_check"] = types.ModuleType("logitpair_type_check")
sys.modules["logitpair_type_check"].check = check_types  # type: ignore[attr-defined]
jaxtyping.jaxtyped = jaxtyped  # what the hook decorates with
jaxtyping.install_import_hook("logitpair", "logitpair_type_check.check")

import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402

import logitpair as lp  # noqa: E402
from logitpair.attacks.cpu_kernels import CPUKernels  # noqa: E402

# called for every operation on a tensor and every look at one, the checks' own among them: checked, it would take most of the tests' time
CPUKernels.__torch_function__ = inspect.unwrap(CPUKernels.__torch_function__)  # type: ignore[method-assign]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("filterwarnings", "error")
    config.addinivalue_line("filterwarnings", "ignore::DeprecationWarning:(?!logitpair)")  # what other libraries say about each other
    config.addinivalue_line("filterwarnings", "ignore::ResourceWarning:tensorboard")


# With CI=true or LOGITPAIR_REQUIRE_ALL=1 skips hide nothing: a library that is missing there is a failure. A machine may lack these two.
REQUIRE_ALL = os.environ.get("LOGITPAIR_REQUIRE_ALL") == "1" or os.environ.get("CI", "").lower() == "true"
MAY_BE_MISSING = ("no GPU", "set LOGITPAIR_DATA")


def refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Make a skip a failure where nothing may be missing."""
    reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
    if REQUIRE_ALL and report.skipped and not hasattr(report, "wasxfail") and not any(part in reason for part in MAY_BE_MISSING):
        report.outcome, report.longrepr = "failed", f"skipped where no library may be missing: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    report = yield
    refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Iterator[None]:
    report = yield
    refuse_skip(report)
    return report


@pytest.fixture
def no_shape_checks() -> Iterator[None]:
    """Switches the shape checks off, for input that they would refuse before the package's own message."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def data_root(name: str, holds: str) -> Path:
    """A folder of $LOGITPAIR_DATA, or of ``data`` in this repository."""
    root = Path(os.environ.get("LOGITPAIR_DATA", Path(__file__).parents[1] / "data")) / name
    if not (root / holds).exists():
        pytest.skip(f"no {holds} in {root}; set LOGITPAIR_DATA to the folder that holds {name}/")
    return root


@pytest.fixture(scope="session")
def mnist_root() -> Path:
    """MNIST as torchvision lays it out."""
    return data_root("mnist", "MNIST/raw")


@pytest.fixture(scope="session")
def svhn_root() -> Path:
    """The official files of SVHN, or some of their images."""
    return data_root("svhn", "train_32x32.mat")


@pytest.fixture(scope="session")
def tiny_imagenet_root() -> Path:
    """Tiny ImageNet as its zip unpacks, or some of its images."""
    return data_root("tiny-imagenet-200", "wnids.txt")


@pytest.fixture(scope="session")
def imagenette_root() -> Path:
    """Ten classes of ImageNet."""
    return data_root("imagenette", "train/n01440764")


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``digits-plain`` after one epoch, trained once for all test processes; copy it before you write to it."""
    import commands

    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "digits-run"
    with FileLock(f"{folder}.lock"):
        if not (folder / "run" / "training.json").exists():
            done = commands.run(folder, "train", "digits-plain", "--epochs", "1", "--out", "run")
            assert done.code == 0, done.stderr
    return folder / "run"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache folder, empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "logitpair"


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def conv() -> nn.Module:
    """An untrained convolutional network for 8x8 grey images, in eval mode."""
    torch.default_generator.manual_seed(0)  # torch.manual_seed takes milliseconds: it notes the whole stack for a GPU that may come
    return lp.models.SmallConvNet(width=4).eval()


class Linear(nn.Module):
    """``x.flatten(1) @ weight.T + bias``: its worst case in an L-infinity ball is known exactly."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight.T + self.bias


@pytest.fixture
def linear() -> Linear:
    """A float64 linear classifier of 1x4x4 images into 3 classes."""
    seeded = torch.Generator().manual_seed(1)
    return Linear(torch.randn(3, 16, generator=seeded, dtype=torch.float64), torch.randn(3, generator=seeded, dtype=torch.float64) / 4)


@pytest.fixture
def middle() -> tuple[Tensor, Tensor]:
    """20 float64 1x4x4 images far from the box's walls, and labels among 3 classes."""
    seeded = torch.Generator().manual_seed(2)
    x = 0.3 + 0.4 * torch.rand(20, 1, 4, 4, generator=seeded, dtype=torch.float64)
    return x, torch.randint(3, (20,), generator=seeded)


@pytest.fixture(scope="session")
def digits() -> tuple[Tensor, Tensor]:
    """The digits' training images in [0, 1], and their labels."""
    train = lp.data.Digits().train()
    return train.images.float() / 255, train.labels


@pytest.fixture(scope="session")
def trained(digits: tuple[Tensor, Tensor]) -> nn.Module:
    """A network that has learnt the digits a little, so that small attacks break some examples and not others."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = lp.models.SmallConvNet(width=4)
        optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
        x, y = digits
        for start in range(0, 1200, 50):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[start : start + 50]), y[start : start + 50]).backward()
            optimizer.step()
    model.zero_grad(set_to_none=True)
    return model.eval()
