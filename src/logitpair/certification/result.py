"""The result of a certificate: a record for people and a ledger of every example."""

import numpy as np
from numpy.typing import NDArray
from torch import nn

from logitpair.errors import InputError
from logitpair.evaluation.confidence import percent
from logitpair.evaluation.result import Recorded, markdown, numbers_of
from logitpair.storage.class_path import describe
from logitpair.storage.model_fingerprint import fingerprint, weights_of
from logitpair.storage.results import CertificateResults
from logitpair.threat import Threat

COLUMNS = ("", "accuracy %", "95% interval", "correct", "seconds")


class Certificate(Recorded[CertificateResults]):
    """What ``logitpair.certify`` returns.

    Args:
        record: the content of ``results.json``; its fields are described in ``docs/results.md``. Accuracies are fractions.
        ledger: arrays with one row an example: ``y``, ``prediction``, ``certified_by`` (the number of the method, from 0; -1: none,
            -2: misclassified unperturbed, -3: broken by an attack) and ``bound`` (of the margin, less what rounding is given; minus
            infinity where none was computed).
    """

    kind = CertificateResults
    writer = "logitpair certify"

    @property
    def certified_accuracy(self) -> float:
        """The fraction of the examples that no image in the threat model is misclassified for."""
        return self.record.certified.top1

    def holds_for(self, model: nn.Module, images: str | None, threat: Threat) -> NDArray[np.bool_]:
        """Which of the examples are certified, ``[examples]``; what the certificate is not of is refused with an ``InputError``.

        Args:
            model: the network, which must have the same weights, settings and code.
            images: the data's fingerprint.
            threat: a ball within that of the certificate.
        """
        record = self.record
        if record.weights != weights_of(model) or record.fingerprint not in (None, fingerprint(model)):
            raise InputError("certificate: is of another network; run `logitpair certify` again")
        if record.images is None:
            raise InputError("certificate: is of a DataLoader or a stream, whose images no audit can know again; certify the Dataset")
        if record.images != images:
            raise InputError("certificate: is of other images; run `logitpair certify` again")
        kind, eps = record.threat["class_path"], record.threat["init_args"]["eps"]
        if kind != describe(threat)["class_path"] or eps < threat.eps:
            raise InputError(f"certificate: is of {kind.rpartition('.')[2]}(eps={eps:g}), and does not hold in {threat}; certify that")
        return self.ledger["certified_by"] >= 0

    def rows(self) -> list[tuple[str, ...]]:
        """The lines of the table as text, under ``COLUMNS``: clean, and certified by each method and those before it."""
        record, total = self.record, 0
        rows = [("clean", *numbers_of(record.clean), "-")]
        for method in record.methods:
            total += method.certified
            left = percent(total / record.examples)
            rows.append((f"certified by {method.name}", left, "-", f"{total} / {record.examples}", f"{method.seconds:.1f}"))
        return [*rows, ("certified", *numbers_of(record.certified), f"{sum(method.seconds for method in record.methods):.1f}")]

    def table(self) -> str:
        """Accuracies as Markdown."""
        return markdown(COLUMNS, self.rows())
