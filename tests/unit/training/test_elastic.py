"""What needs no workers: settings, shares of batches at any place, and the one line where something is missing."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import torch

from logitpair import InputError
from logitpair.cli.main import main
from logitpair.config import parsing, recipes
from logitpair.runs import run_directory as runs
from logitpair.runtime.distributed import ProcessTeam, World
from logitpair.training.elastic import Elastic, Workers, _take
from logitpair.training.local_batches import LocalBatches

CPU = torch.device("cpu")
SHORT = ["--epochs", "0.05", "--validation.examples", "10"]


def feed(*overrides: str) -> LocalBatches:
    config = parsing.resolve(recipes.load("digits-plain").run, list(overrides)).config
    return LocalBatches(config, config.data.train())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"workers": 0}, "elastic.workers"),
        ({"workers": 2, "timeout": 0}, "elastic.timeout"),
        ({"lighthouse": "http://host:1"}, "elastic.lighthouse is http://host:1 but elastic.workers is not given"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Elastic(**settings)


def test_without_workers_the_team_is_that_of_the_world() -> None:
    world = World(1, 3, CPU)
    with Elastic().join(world, torch.nn.Linear(1, 1), dict, lambda parts: None, lambda text: None) as team:
        assert type(team) is ProcessTeam
        assert team.place == world
        assert team.gather(lambda: True)


@pytest.mark.parametrize(
    ("environ", "options", "message"),
    [
        ({"TORCHFT_LIGHTHOUSE": None}, [], "elastic.lighthouse is not given"),
        ({"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}, [], "elastic.workers is 2 under torchrun"),
        ({}, ["--batch_size", "2000", "--elastic.workers", "1500"], "makes a batch of 1200 images, too few for 1500"),
    ],
)
def test_workers_that_cannot_start_say_why_in_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    environ: dict[str, str | None],
    options: list[str],
    message: str,
) -> None:
    for name, value in environ.items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    code = main(["train", "digits-plain", "--out", str(tmp_path / "run"), "--elastic.workers", "2", *options, *SHORT])
    lines = capsys.readouterr().err.strip().splitlines()
    assert code == 2
    assert len(lines) == 1
    assert message in lines[0]


def test_a_lighthouse_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    modules = MagicMock()  # the library itself tries for ten seconds
    modules.Manager.side_effect = RuntimeError("transport error\nat great length")
    monkeypatch.setattr("logitpair.training.elastic._torchft", lambda: (modules, modules))
    settings = Elastic(workers=2, lighthouse="http://127.0.0.1:1")
    joining = settings.join(World(0, 1, CPU), torch.nn.Linear(1, 1), dict, lambda parts: None, lambda text: None)
    with pytest.raises(InputError, match=r"nobody answers at http://127.0.0.1:1 \(transport error\); start"), joining:
        pass


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchft", None)
    settings = Elastic(workers=2, lighthouse="http://127.0.0.1:1")
    joining = settings.join(World(0, 1, CPU), torch.nn.Linear(1, 1), dict, lambda parts: None, lambda text: None)
    with pytest.raises(InputError, match=r"pip install 'logitpair\[elastic\]'"), joining:
        pass


def test_workers_may_be_more_or_fewer_when_a_run_goes_on(tmp_path: Path) -> None:
    recipe = recipes.load("digits-plain").run
    runs.prepare(tmp_path / "run", "digits-plain", None, parsing.resolve(recipe, ["--elastic.workers", "2"]))
    (tmp_path / "run" / "checkpoints").mkdir()
    (tmp_path / "run" / "checkpoints" / "last.pt").touch()
    runs.prepare(tmp_path / "run", "digits-plain", None, parsing.resolve(recipe, ["--elastic.workers", "3"]))
    runs.prepare(tmp_path / "run", "digits-plain", None, parsing.resolve(recipe))


def test_a_run_may_be_begun_while_another_worker_writes_its_settings(tmp_path: Path) -> None:
    (tmp_path / ".config.yaml.half").touch()
    runs.prepare(tmp_path, "digits-plain", None, parsing.resolve(recipes.load("digits-plain").run))
    assert (tmp_path / "config.yaml").exists()


@pytest.mark.parametrize("step", [0, 7, 18, 19, 40])
def test_shares_at_all_places_are_the_batch_wherever_reading_begins(step: int) -> None:
    whole = feed().share(step, World(0, 1, CPU))
    for size in (2, 3):
        shares = [feed().share(step, World(rank, size, CPU)) for rank in range(size)]
        for rank, share in enumerate(shares):
            assert share.of == whole.of == len(whole)
            assert torch.equal(share.x, whole.x[rank::size])
            assert torch.equal(share.y, whole.y[rank::size])
            assert torch.equal(share.positions, whole.positions[rank::size])


def test_a_feed_goes_forward_again_and_to_other_places() -> None:
    moving, places = feed(), [World(0, 2, CPU), World(1, 2, CPU), World(2, 2, CPU)]
    for step, place in [(0, 0), (1, 0), (1, 0), (2, 1), (3, 1), (3, 2), (4, 1), (9, 1), (10, 0), (18, 0), (19, 0), (5, 0)]:
        found, expected = moving.share(step, places[place]), feed().share(step, places[place])
        assert torch.equal(found.x, expected.x), (step, place)
        assert torch.equal(found.positions, expected.positions), (step, place)


def test_a_spare_worker_has_nothing() -> None:
    share = feed().share(3, World(2, 2, CPU))
    assert len(share) == 0
    assert share.of == 64
    assert share.micro_batches(4) == []


class Manager:
    """Stands for torchft's: the gradient of a worker alone, or of one whose neighbour died, after quorums that may fail."""

    def __init__(self, commits: bool = True, others: float = 0, quorums: tuple[Exception | str | int | None, ...] = ()) -> None:
        self.commits, self.others, self.quorums, self.failures = commits, others, list(quorums), 0

    def start_quorum(self, timeout: timedelta) -> None:
        self.found = self.quorums.pop(0)
        if isinstance(self.found, Exception):
            raise self.found

    def errored(self) -> Exception | None:
        return RuntimeError(self.found) if isinstance(self.found, str) else None

    def participating_rank(self) -> int | None:
        return self.found

    def current_step(self) -> int:
        return 3

    def allreduce(self, vector: torch.Tensor) -> Manager:
        vector[: len(vector) // 2] += self.others
        return self

    def wait(self) -> None: ...

    def should_commit(self) -> bool:
        self.failures += 1
        return self.commits


def team(model: torch.nn.Module, manager: Manager) -> Workers:
    workers = Workers(World(0, 1, CPU), model, manager, 1.0, lambda text: None)
    workers._buffers = [buffer.clone() for buffer in model.buffers()]
    return workers


def stepped() -> torch.nn.Module:
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 1, dtype=torch.float64).float())
    model(torch.rand(4, 2)).sum().backward()
    return model


def test_a_worker_alone_keeps_its_gradients_buffers_and_measures() -> None:
    model = stepped()
    expected = [*(parameter.grad.clone() for parameter in model.parameters()), *(buffer.clone() for buffer in model.buffers())]
    measures = {"loss": torch.tensor(2.5), "accuracy": torch.tensor(0.25)}
    averaged = team(model, Manager(commits=True)).average(model, measures)
    assert averaged == {"loss": 2.5, "accuracy": 0.25}
    found = [*(parameter.grad for parameter in model.parameters()), *model.buffers()]
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_a_step_that_failed_leaves_buffers_as_they_were_before_it() -> None:
    model = torch.nn.BatchNorm1d(3)
    failing = team(model, Manager(commits=False, others=7))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model(torch.rand(4, 3)).sum().backward()
    assert model.num_batches_tracked == 1
    assert failing.average(model, {"loss": torch.tensor(1.0)}) is None
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())


def test_a_worker_waits_until_a_quorum_stands_or_it_shall_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    late, lost = TimeoutError("nobody came"), RuntimeError("the connection was lost")
    manager = Manager(quorums=(late, lost, "a neighbour died", 1, 1, None, 0, late, late))
    workers = Workers(World(2, 2, CPU), torch.nn.BatchNorm1d(3), manager, 1.0, told.append)
    places = []
    for _step in range(4):
        assert workers.gather(lambda: False)
        places.append(workers.place.rank)
    assert places == [1, 1, 2, 0]
    assert manager.failures == 1, "a quorum that failed must be counted, so that the next is a new one"
    assert told == [
        "step 3: waiting for workers and the lighthouse",
        "step 3: trying again to reach the other workers (a neighbour died)",
        "step 3: worker 2 of 2",
        "step 3: a spare worker",
        "step 3: worker 1 of 2",
    ]
    assert not workers.gather(lambda: len(manager.quorums) == 1)
    monkeypatch.setattr("logitpair.training.elastic.PATIENCE", 0.0)
    with pytest.raises(InputError, match="elastic.workers: 2 did not come together .nobody came."):
        workers.gather(lambda: False)


def test_a_state_of_another_network_is_refused() -> None:
    other = torch.nn.Linear(2, 3).state_dict()
    with pytest.raises(InputError, match="another worker's state does not fit"):
        _take(torch.nn.Linear(2, 4).load_state_dict, other)


def test_workers_that_count_differently_and_too_many_measures_are_refused() -> None:
    model = stepped()
    with pytest.raises(InputError, match="1 here and another number elsewhere"):
        team(model, Manager(commits=True, others=1)).average(model, {"loss": torch.tensor(1.0)})
    with pytest.raises(InputError, match="measures 64 numbers in a step; .* 63"):
        team(model, Manager(commits=True)).average(model, {str(number): torch.tensor(1.0) for number in range(64)})


def test_the_end_is_written_by_another_when_the_first_worker_does_not(tmp_path: Path) -> None:
    model, done = torch.nn.Linear(1, 1), tmp_path / "done"
    first, second = (Workers(World(rank, 2, CPU), model, None, 0.05, lambda text: None) for rank in (0, 1))
    assert first.writes_the_end(done)
    assert second.writes_the_end(done), "the first never wrote it"
    done.touch()
    assert not second.writes_the_end(done)


def test_commands_of_the_document_parse(monkeypatch: pytest.MonkeyPatch) -> None:
    from logitpair.cli.commands import train

    monkeypatch.setattr(train, "run", lambda arguments: None)
    document = (Path(__file__).parents[3] / "docs" / "elastic.md").read_text()
    lines = [re.split(" >| &&", line)[0].split() for line in document.splitlines() if line.lstrip().startswith("logitpair ")]
    assert len(lines) == 4
    script = next(block for block in document.split("```") if block.startswith("bash\n"))
    subprocess.run(["bash", "-n"], input=script.removeprefix("bash\n"), text=True, check=True)
    for _, *arguments in lines:
        assert main(arguments) == 0
