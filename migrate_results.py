"""Rewrite recorded results from schema 1 to schema 2: ``python migrate_results.py results`` (or a run directory, with ``--ledgers``).

No number changes. Texts (``evidence``, ``reason``, ``stop_reason``) stay as they were recorded.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import io
import json
import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from logitpair.config.old_names import modernized
from logitpair.storage.atomic_files import atomic_write
from logitpair.storage.result_files import write_record
from logitpair.storage.results import SCHEMA, AuditResults, EvaluationResults, SweepResults, VerificationResults

RECORDS = {"evaluation": EvaluationResults, "audit": AuditResults, "sweep": SweepResults, "verification": VerificationResults}
PRIVATE_PATH = re.compile(r"logitpair\.(attacks|objectives|models|data)\.\w+\.(\w+)")


def migrated(content: dict[str, Any]) -> dict[str, Any]:
    """The content of a file of schema 1 with the keys of schema 2."""
    content = public(modernized(content)) | {"schema": SCHEMA}
    if "request" in content:
        content["cache_key"] = content.pop("request")
    if content["kind"] == "evaluation":
        groups = [content, *content["black_box"].values()]
        for attack in (attack for group in groups for attack in group["attacks"].values()):
            rename(attack, standing="still_correct")
    elif content["kind"] == "audit":
        rename_audit(content)
        for finding in content["findings"]:
            finding["check"] = {"settled": "search_converged"}.get(finding["check"], finding["check"])
            rename(finding["measured"], protocol="reference", settled="converged")
    elif content["kind"] == "verification":
        for attack in content["attacks"]:
            rename(attack, victim="setting")
    return content


def rename_audit(content: dict[str, Any]) -> None:
    rename(content, protocol="reference", stopped="stop_reason", settled="converged")
    for search_round in content.get("rounds", ()):
        rename(search_round, arm="strategy", turn="repetition", standing="still_correct")


def rename(entry: dict[str, Any], **names: str) -> None:
    for old, new in names.items():
        if old in entry:
            entry[new] = entry.pop(old)


def public(value: Any) -> Any:
    """The paths of classes as users import them: ``logitpair.attacks.pgd.PGD`` is ``logitpair.attacks.PGD``."""
    if isinstance(value, dict):
        return {key: public(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [public(entry) for entry in value]
    match = PRIVATE_PATH.fullmatch(value) if isinstance(value, str) else None
    exported = match and hasattr(importlib.import_module(f"logitpair.{match[1]}"), match[2])
    return f"logitpair.{match[1]}.{match[2]}" if match and exported else value


def migrate_ledger(path: Path) -> str:
    """Rename an audit's column, and return the file's SHA-256."""
    with np.load(path) as file:
        arrays = {{"broken_by": "broken_in_round"}.get(name, name): file[name] for name in file.files}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    atomic_write(path, buffer.getbuffer())
    return hashlib.sha256(buffer.getbuffer()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--ledgers", action="store_true", help="also rewrite the ledger.npz beside each results.json")
    arguments = parser.parse_args()
    for path in sorted(path for folder in arguments.folders for path in folder.rglob("*.json")):
        content = json.loads(path.read_text())
        if isinstance(content, dict) and content.get("schema") == 1 and content.get("kind") in RECORDS:
            content = migrated(content)
            ledger = path.with_name("ledger.npz")
            if arguments.ledgers and content["kind"] == "audit" and ledger.exists():
                content["ledger_sha256"] = migrate_ledger(ledger)
            try:
                write_record(path, msgspec.convert(content, RECORDS[content["kind"]]))
            except msgspec.ValidationError as error:
                raise SystemExit(f"{path}: {error}") from error
            print(path)
        elif isinstance(content, dict) and path.match("benchmarks/audit.json"):
            content = public(modernized(content))
            for entry in content.values():
                rename(entry, standing="still_correct")
                rename_audit(entry)
            atomic_write(path, json.dumps(content) + "\n")
            print(path)


if __name__ == "__main__":
    main()
