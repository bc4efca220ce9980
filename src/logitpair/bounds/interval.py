"""Interval bound propagation: where every value of a network lies, from the image to the logits (arXiv 1810.12715, section 3)."""

from logitpair.bounds.graph import Graph
from logitpair.bounds.operations import Interval


def intervals(graph: Graph, x: Interval, known: dict[int, Interval] | None = None, *, last: int | None = None) -> list[Interval]:
    """The intervals of all steps, the image's first.

    Args:
        graph: the network.
        x: where the images lie, ``[batch, channels, height, width]``.
        known: intervals of some steps that were found otherwise, by number.
        last: the last step wanted; the logits if None.
    """
    found = [x]
    for number, step in enumerate(graph.steps[:last], 1):
        given = (known or {}).get(number)
        found.append(given or step.operation.interval(*[found[source] for source in step.inputs]))
    return found
