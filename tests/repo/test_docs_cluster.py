"""docs/how-to/cluster.md: its script and manifest parse, their commands name what exists, and the script requeues when it should."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from jsonargparse import ArgumentParser

from logitpair.cli.commands import train

DOCUMENT = (Path(__file__).parents[2] / "docs" / "how-to" / "cluster.md").read_text()
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = {language: text for language, text in BLOCK.findall(DOCUMENT) if language in ("bash", "yaml")}
LINES = [line for language, text in BLOCK.findall(DOCUMENT) if language == "console" for line in text.splitlines()]
# What the script calls of a cluster, as far as it looks at it: `srun` runs its command here, `torchrun` is a training that ends by ENDS.
STUBS = {
    "srun": 'while [[ "$1" == --* ]]; do shift; done; exec "$@"',
    "scontrol": '[ "$1" = show ] && printf "node-1\\nnode-2\\n" || echo "$@" >> "$LOG"',
    "scancel": 'echo "scancel $*" >> "$LOG"; kill -TERM "$(cat "$LOG.pid")"',
    "torchrun": """
        echo "$@" > "$LOG.torchrun"; echo $$ > "$LOG.pid"
        [ "$ENDS" = at-once ] && exit 1
        mkdir -p "$RUN/checkpoints"
        trap 'touch "$RUN/checkpoints/last.pt"; exit 130' TERM
        if [ "$ENDS" = at-signal ]; then kill -USR1 "$PPID"; for i in {1..100}; do sleep 0.1; done; fi
        touch "$RUN/checkpoints/last.pt"
        [ "$ENDS" = well ] && touch "$RUN/training.json" || exit 1
    """,
}


def arguments_of_train() -> dict[str, list[str]]:
    """What follows ``train`` in each launch of the document."""
    shell = BLOCKS["bash"].replace("\\\n", " ").replace('"$recipe"', re.search(r"^recipe=(\S+)", BLOCKS["bash"], re.M)[1])  # type: ignore[index]
    lines = [line.rstrip("& ") for line in [*shell.splitlines(), *LINES] if "-m logitpair train " in line]
    assert len(lines) == 3
    job = next(part for part in yaml.safe_load_all(BLOCKS["yaml"]) if part["kind"] == "Job")
    command = job["spec"]["template"]["spec"]["containers"][0]["command"]
    found = {f"line {number}": shlex.split(line.partition(" train ")[2]) for number, line in enumerate(lines)}
    return found | {"manifest": command[command.index("train") + 1 :]}


@pytest.mark.parametrize(("launch", "arguments"), arguments_of_train().items())
def test_every_launch_is_a_command_that_train_takes(launch: str, arguments: list[str]) -> None:
    parser = ArgumentParser(exit_on_error=False)
    train.add_arguments(parser)
    parsed = parser.parse_args(train.expand(arguments))
    assert parsed.recipe == "imagenet-alp-inception_v3"
    data = parsed.data.init_args
    assert (data.size, data.crop_pct, data.validation_fraction, data.augmentation.scale) == (299, 0.875, 0.01, (0.08, 1.0))


def test_the_script_parses() -> None:
    subprocess.run(["bash", "-n"], input=BLOCKS["bash"], text=True, check=True)


def test_the_manifest_is_of_one_piece() -> None:
    parts = {part["kind"]: part for part in yaml.safe_load_all(BLOCKS["yaml"])}
    assert parts.keys() == {"PersistentVolumeClaim", "Service", "Job"}
    job, name = parts["Job"]["spec"], parts["Job"]["metadata"]["name"]
    pod = job["template"]["spec"]
    options = dict(option.split("=", 1) for option in pod["containers"][0]["command"] if option.startswith("--"))
    assert job["completions"] == job["parallelism"] == int(options["--nnodes"])
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == int(options["--nproc-per-node"])
    assert pod["subdomain"] == parts["Service"]["metadata"]["name"]
    assert parts["Service"]["spec"]["selector"] == {"job-name": name}
    assert options["--rdzv-endpoint"].startswith(f"{name}-0.{pod['subdomain']}:")
    volumes = {volume["name"] for volume in pod["volumes"]}
    mounts = [mount for container in (*pod["initContainers"], *pod["containers"]) for mount in container["volumeMounts"]]
    assert {mount["name"] for mount in mounts} == volumes
    paths = tuple(mount["mountPath"] for mount in mounts)
    assert options["--out"].startswith(paths)
    assert options["--data-dir"] in paths


@pytest.mark.parametrize(
    ("ends", "code", "said"),
    [
        ("well", 0, ""),  # nothing more to do
        ("late", 1, "requeue 4711\n"),  # killed after a checkpoint
        ("at-signal", 1, "scancel --signal=TERM 4711\nrequeue 4711\n"),  # its time is over
        ("at-once", 1, ""),  # a mistaken option: another try would fail as well
    ],
)
def test_the_script_is_queued_again_only_where_training_came_further(tmp_path: Path, ends: str, code: int, said: str) -> None:
    for name, text in STUBS.items():
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "train-000000.tar").touch()
    log, run = tmp_path / "log", tmp_path / "runs" / "alp"
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints" / "last.pt").touch()
    os.utime(run / "checkpoints" / "last.pt", (0, 0))  # of a job before
    log.touch()
    place = {"RUN": run, "SHARDS": tmp_path / "shards", "SCRATCH": tmp_path / "scratch", "LOG": log, "ENDS": ends}
    slurm = {"SLURM_JOB_ID": "4711", "SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_NODELIST": "node-[1-2]"}
    environment = os.environ | {key: str(value) for key, value in place.items()} | slurm
    environment["PATH"] = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    done = subprocess.run(["bash", "-c", BLOCKS["bash"]], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, log.read_text()) == (code, said), done.stderr
    assert (tmp_path / "scratch" / "imagenet-shards" / "train-000000.tar").exists()
    assert "--rdzv-endpoint node-1:24711 -m logitpair train" in (tmp_path / "log.torchrun").read_text()
