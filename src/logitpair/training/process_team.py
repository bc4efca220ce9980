"""The processes that share the steps of a training."""

from collections.abc import Callable, Iterator

from torch import Tensor

from logitpair.runtime import distributed
from logitpair.runtime.distributed import World
from logitpair.runtime.signals import GracefulStop
from logitpair.training.train_state import TrainState

Measures = dict[str, Tensor]
"""What a step measured, by name: scalars on the device."""


class ProcessTeam:
    """All processes of a world, which train ``state``; those of ``elastic.ElasticTeam`` come and go instead.

    ``size`` of them share a step's batch. This one's ``rank`` counts from 0; a standby, which follows and computes nothing, has ``size``.
    """

    def __init__(self, world: World, state: TrainState) -> None:
        self.world, self.state = world, state
        self.rank, self.size = world.rank, world.size

    @property
    def is_standby(self) -> bool:
        """Whether this process computes nothing until another is lost."""
        return self.rank >= self.size

    def steps(self, take_step: Callable[[], Measures | None], total: int, stop: GracefulStop) -> Iterator[Measures]:
        """What each step measured, until ``total`` are taken or a process is asked to stop; a step that fails is taken again."""
        while self.state.step < total:
            measures = take_step()
            if measures is not None:
                yield measures
            if distributed.any_process(stop.requested, self.world):
                return

    def average(self, measures: Measures) -> Measures | None:
        """After the backward passes, give all processes the same gradients (``data_parallel`` has averaged them already) and buffers.

        Returns measures whose mean over ``world`` is that of the batch; None if a process was lost, so that the step is taken again.
        """
        distributed.average_buffers(self.state.model, self.world)
        return measures

    def is_writer(self) -> bool:
        """Whether this process writes the run's files."""
        return self.world.is_main
