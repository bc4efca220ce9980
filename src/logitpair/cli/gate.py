"""What a build server wants of an audit or an evaluation: the record as JSON or JUnit XML, and an exit code. Imports no torch."""

import contextlib
import json
import sys
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import msgspec
from jsonargparse import Namespace

from logitpair.cli.junit import DOUBTFUL, judged, junit, shortfall
from logitpair.cli.options import check_choice, check_file
from logitpair.cli.terminal import console
from logitpair.config.numbers import parse_number
from logitpair.errors import InputError
from logitpair.storage.atomic_files import atomic_write
from logitpair.storage.results import AuditResults, CertificateResults, EvaluationResults, Verdict

UNDER = 4  # exit code where the accuracy is below --fail-under
VERDICTS: dict[Verdict, int] = {"overestimated": 5, "inconclusive": 6}  # exit codes where --fail-on names the verdict


@dataclass(frozen=True)
class Gate:
    """What ``--fail-under``, ``--fail-on``, ``--json`` and ``--junit`` ask for."""

    fail_under: float | None
    fail_on: tuple[str, ...]
    json: bool
    junit: Path | None

    @classmethod
    def of(cls, arguments: Namespace) -> Self:
        """As the options say; values that cannot be met are refused before anything is attacked."""
        threshold, verdicts = arguments.fail_under, arguments.get("fail_on")
        fail_on = () if verdicts is None else tuple(verdict.strip() for verdict in verdicts.split(","))
        for verdict in fail_on:
            check_choice("fail_on", verdict, tuple(VERDICTS))
        check_file("--junit", arguments.junit, "junit.xml")
        return cls(None if threshold is None else _accuracy(threshold), fail_on, arguments.json, arguments.junit)

    @contextlib.contextmanager
    def output(self) -> Generator[None]:
        """With ``--json``, all that is printed meanwhile goes to standard error, also what a network of the user's prints."""
        with contextlib.redirect_stdout(sys.stderr) if self.json else contextlib.nullcontext():
            yield

    def close(self, record: AuditResults | CertificateResults | EvaluationResults, folder: Path) -> int:
        """Hand over the record, as it was written, of the run in ``folder``; returns the exit code, and says why it is not 0."""
        if self.junit is not None:
            content = junit(record, str(folder), fail_under=self.fail_under, fail_on=self.fail_on or DOUBTFUL)
            atomic_write(self.junit, content)
        if self.json:
            console.print(json.dumps(msgspec.to_builtins(record), indent=2))  # ASCII, which every encoding holds
        name, accuracy = judged(record)
        failed: dict[int, str] = {}
        if short := shortfall(accuracy, self.fail_under):
            failed[UNDER] = f"{name} {short}"
        if isinstance(record, AuditResults) and record.verdict in self.fail_on:
            failed[VERDICTS[record.verdict]] = f"the verdict is {record.verdict}, which --fail-on names: {record.reason}"
        for why in failed.values():
            print(f"logitpair: failed: {why}", file=sys.stderr)
        return next(iter(failed), 0)


def _accuracy(text: str) -> float:
    value = -1.0
    with contextlib.suppress(InputError):
        value = parse_number(text)
    if not 0 <= value <= 1:
        raise InputError(f"--fail-under: '{text}' is no accuracy; accepted: from 0 to 1, such as 0.5 for 50%")
    return value
