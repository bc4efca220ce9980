"""What needs no workers: settings, a team whose manager is a stand-in, and the one line where something is missing."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import torch

from logitpair import InputError
from logitpair.cli.main import main
from logitpair.config.run_config import ElasticConfig
from logitpair.runtime.distributed import World
from logitpair.runtime.signals import GracefulStop
from logitpair.training.elastic import ElasticTeam, load_from_worker, process_team
from logitpair.training.process_team import Measures, ProcessTeam
from logitpair.training.train import check_ended
from logitpair.training.train_state import TrainState

CPU = torch.device("cpu")
SHORT = ["--epochs", "0.05", "--validation.examples", "10"]


def state_of(model: torch.nn.Module, step: int = 3) -> TrainState:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return TrainState(model, optimizer, torch.amp.GradScaler("cpu", enabled=False), None, step=step)


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
        ElasticConfig(**settings)


def test_without_workers_the_team_is_that_of_the_world(tmp_path: Path) -> None:
    with process_team(ElasticConfig(), World(1, 3, CPU), state_of(torch.nn.Linear(1, 1)), tmp_path / "end") as team:
        assert type(team) is ProcessTeam
        assert (team.rank, team.size, team.is_standby, team.is_writer()) == (1, 3, False, False)


def test_a_step_that_failed_is_taken_again_and_a_stop_ends_the_steps() -> None:
    state, stop, taken = state_of(torch.nn.Linear(1, 1), step=0), GracefulStop(), []

    def take_step() -> Measures | None:
        taken.append(state.step)
        if len(taken) == 2:
            return None
        state.step += 1
        return {"loss": torch.tensor(1.0)}

    steps = ProcessTeam(World(0, 1, CPU), state).steps(take_step, 5, stop)
    for _measures in steps:
        stop.requested = state.step == 3
    assert taken == [0, 1, 1, 2]


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


def test_a_lighthouse_that_does_not_answer_and_a_missing_library_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, state = ElasticConfig(workers=2, lighthouse="http://127.0.0.1:1"), state_of(torch.nn.Linear(1, 1))
    for name in ("torchft", "torchft.manager"):  # another test may have imported it
        monkeypatch.setitem(sys.modules, name, None)
    joining = process_team(settings, World(0, 1, CPU), state, tmp_path / "end")
    with pytest.raises(InputError, match=r"pip install 'logitpair\[elastic\]'"), joining:
        pass
    modules = MagicMock()  # the library itself tries for ten seconds
    modules.Manager.side_effect = RuntimeError("transport error\nat great length")
    monkeypatch.setattr("logitpair.training.elastic.import_torchft", lambda: (modules, modules))
    joining = process_team(settings, World(0, 1, CPU), state, tmp_path / "end")
    with pytest.raises(InputError, match=r"nobody answers at http://127.0.0.1:1 \(transport error\); start"), joining:
        pass


class Manager:
    """Stands for torchft's: the gradient of a worker alone, or of one whose neighbour died, after quorums that may fail."""

    def __init__(self, commits: bool = True, others: float = 0, quorums: Sequence[Exception | str | int | None] = ()) -> None:
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


def team(model: torch.nn.Module, manager: Manager, size: int = 1) -> ElasticTeam:
    workers = ElasticTeam(World(0, 1, CPU), state_of(model), size, manager, 0.05, Path("end"))
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
    averaged = team(model, Manager(commits=True)).average(measures)
    assert averaged == {"loss": 2.5, "accuracy": 0.25}
    found = [*(parameter.grad for parameter in model.parameters()), *model.buffers()]
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_a_step_that_failed_leaves_buffers_as_they_were_before_it() -> None:
    model = torch.nn.BatchNorm1d(3)
    failing = team(model, Manager(commits=False, others=7))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model(torch.rand(4, 3)).sum().backward()
    assert model.num_batches_tracked == 1
    assert failing.average({"loss": torch.tensor(1.0)}) is None
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())


def test_a_worker_waits_for_a_quorum_or_until_it_is_to_leave(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "logitpair")
    late, lost = TimeoutError("nobody came"), RuntimeError("the connection was lost")
    manager = Manager(quorums=(late, lost, "a neighbour died", 1, 1, None, 0, late, late))
    workers = team(torch.nn.BatchNorm1d(3), manager, size=2)
    assert workers.is_standby
    ranks = []
    for _step in range(4):
        assert workers.gather(lambda: False)
        ranks.append(workers.rank)
    assert ranks == [1, 1, 2, 0]
    assert manager.failures == 1, "a quorum that failed must be counted, so that the next is a new one"
    assert caplog.messages == [
        "step 3: waiting for workers and the lighthouse",
        "step 3: trying again to reach the other workers (a neighbour died)",
        "step 3: worker 2 of 2",
        "step 3: a standby",
        "step 3: worker 1 of 2",
    ]
    assert not workers.gather(lambda: len(manager.quorums) == 1)
    monkeypatch.setattr("logitpair.training.elastic.GATHER_TIMEOUT", 0.0)
    with pytest.raises(InputError, match="elastic.workers: 2 did not come together .nobody came."):
        workers.gather(lambda: False)


def test_a_state_of_another_network_is_refused() -> None:
    other = state_of(torch.nn.Linear(2, 3)).state_dict()
    with pytest.raises(InputError, match="another worker's state does not fit"):
        load_from_worker(state_of(torch.nn.Linear(2, 4)), other)


def test_workers_that_count_differently_and_too_many_measures_are_refused() -> None:
    model = stepped()
    with pytest.raises(InputError, match="1 here and another number elsewhere"):
        team(model, Manager(commits=True, others=1)).average({"loss": torch.tensor(1.0)})
    with pytest.raises(InputError, match="measures 64 numbers in a step; .* 63"):
        team(model, Manager(commits=True)).average({str(number): torch.tensor(1.0) for number in range(64)})


@pytest.mark.parametrize(("rank", "ended"), [(0, False), (1, False), (1, True), (None, True)])
def test_the_end_is_written_by_the_next_worker_when_the_first_does_not(tmp_path: Path, rank: int | None, ended: bool) -> None:
    state, end = state_of(torch.nn.Linear(1, 1), step=4), tmp_path / "end"
    workers = ElasticTeam(World(0, 1, CPU), state, 2, Manager(quorums=(rank,)), 0.05, end)

    def take_step() -> Measures:
        state.step += 1
        return {}

    for _measures in workers.steps(take_step, 5, GracefulStop()):
        if ended:
            end.touch()
        assert workers.is_writer() is not ended
    end.touch()
    assert workers.is_writer() is not ended, "it is decided once"


def test_an_end_without_the_weights_of_the_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds the training.json of a finished training and step 3 of 6; .* move training.json away"):
        check_ended(tmp_path, state_of(torch.nn.Linear(2, 2)), 6, CPU)
    check_ended(tmp_path, state_of(torch.nn.Linear(2, 2)), 3, CPU)


def test_commands_of_the_document_parse(monkeypatch: pytest.MonkeyPatch) -> None:
    from logitpair.cli.commands import train

    monkeypatch.setattr(train, "run", lambda arguments: None)
    document = (Path(__file__).parents[3] / "docs" / "how-to" / "elastic.md").read_text()
    lines = [re.split(" >| &&", line)[0].split() for line in document.splitlines() if line.lstrip().startswith("logitpair ")]
    assert len(lines) == 4
    script = next(block for block in document.split("```") if block.startswith("bash\n"))
    subprocess.run(["bash", "-n"], input=script.removeprefix("bash\n"), text=True, check=True)
    for _, *arguments in lines:
        assert main(arguments) == 0
