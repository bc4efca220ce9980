"""docs/how-to/cluster.md: its launches parse, their commands name what exists, and the script for training requeues when it should."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import documents
import pytest
import yaml

from logitpair.cli.commands import train
from logitpair.cli.parser import parse
from logitpair.storage.remote import place

BLOCKS = documents.blocks("docs/how-to/cluster.md")
SCRIPT, MEASURE = (text for language, text in BLOCKS if language == "bash")
MANIFEST, KUBEFLOW, SKYPILOT = (list(yaml.safe_load_all(text)) for language, text in BLOCKS if language == "yaml")
LINES = [line for language, text in BLOCKS if language == "console" for line in text.splitlines()]
TASK = SKYPILOT[0]
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


def launched(script: str, start: str) -> list[list[str]]:
    """What follows ``start`` in each line of a script that has it, with the script's variables of the run and the images."""
    variables = {"$recipe": "imagenet-alp-inception_v3", "$run": "run", "$RUN": "run", "$SHARDS": "shards", "$shards": "shards"}
    text = script.replace("\\\n", " ")
    for name, value in variables.items():
        text = text.replace(f'"{name}"', value)
    return [shlex.split(line.partition(start)[2].rstrip("& ")) for line in text.splitlines() if start in line and '"$@"' not in line]


def of_pod(command: list[str]) -> list[str]:
    """The arguments of logitpair in the command of a container."""
    return command[command.index("logitpair") + 1 :]


JOBS = {part["metadata"]["name"]: part["spec"] for part in KUBEFLOW if part["kind"] == "TrainJob"}
POD = next(part for part in MANIFEST if part["kind"] == "Job")["spec"]["template"]["spec"]
TRAININGS = {
    **{
        f"line {number}": arguments
        for number, arguments in enumerate(launched("\n".join([SCRIPT, *LINES]), "-m logitpair "))
        if "train" in arguments
    },
    "manifest": of_pod(POD["containers"][0]["command"]),
    "TrainJob": of_pod(JOBS["alp"]["trainer"]["command"]),
    "SkyPilot": launched(TASK["run"], "launch ")[0],
}
MEASUREMENTS = [*launched(MEASURE, "|| measure "), of_pod(JOBS["alp-audit"]["trainer"]["command"])]


def test_there_are_launches_of_all_kinds() -> None:
    assert len(TRAININGS) == 6
    assert [arguments[0] for arguments in MEASUREMENTS] == ["evaluate", "audit", "audit"]


@pytest.mark.parametrize(("launch", "arguments"), TRAININGS.items())
def test_every_launch_is_a_command_that_train_takes(launch: str, arguments: list[str]) -> None:
    run, parsed = parse(arguments)
    assert run is train.run
    assert parsed.recipe == "imagenet-alp-inception_v3"
    data = parsed.data.init_args
    assert (data.size, data.crop_pct, data.validation_fraction, data.augmentation.scale) == (299, 0.875, 0.01, (0.08, 1.0))


@pytest.mark.parametrize("arguments", MEASUREMENTS)
def test_every_measurement_is_a_command_that_is_taken(arguments: list[str]) -> None:
    run, parsed = parse(arguments)
    assert run.__module__ == f"logitpair.cli.commands.{arguments[0]}"
    assert parsed.run
    assert parsed.data_dir


@pytest.mark.parametrize("script", [SCRIPT, MEASURE, TASK["run"]])
def test_scripts_parse(script: str) -> None:
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_the_train_jobs_are_of_one_piece() -> None:
    (runtime,) = (part for part in KUBEFLOW if part["kind"] == "TrainingRuntime")
    assert {part["apiVersion"] for part in KUBEFLOW} == {"trainer.kubeflow.org/v1alpha1"}
    (node,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    assert node["template"]["metadata"]["labels"] == {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}
    pod = node["template"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    paths = tuple(mount["mountPath"] for mount in container["volumeMounts"])
    for job in JOBS.values():
        assert job["runtimeRef"] == {"apiGroup": "trainer.kubeflow.org", "kind": "TrainingRuntime", "name": runtime["metadata"]["name"]}
        assert job["trainer"]["numNodes"] == runtime["spec"]["mlPolicy"]["numNodes"]
        assert job["trainer"]["resourcesPerNode"]["limits"]["nvidia.com/gpu"] == runtime["spec"]["mlPolicy"]["torch"]["numProcPerNode"]
        _run, parsed = parse(of_pod(job["trainer"]["command"]))
        assert str(parsed.get("out") or parsed.run).startswith(paths)
        assert str(parsed.data_dir) in paths


def test_the_task_has_what_skypilot_knows() -> None:
    assert TASK.keys() == {"name", "num_nodes", "resources", "file_mounts", "envs", "run"}
    (mounted,) = TASK["file_mounts"]
    assert TASK["envs"]["RUN"].startswith(f"{mounted}/")
    assert TASK["file_mounts"][mounted]["mode"] == "MOUNT_CACHED"
    assert isinstance(place(TASK["envs"]["SHARDS"]), str), "images are read where they are"


def test_the_manifest_is_of_one_piece() -> None:
    parts = {part["kind"]: part for part in MANIFEST}
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
    done = subprocess.run(["bash", "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, log.read_text()) == (code, said), done.stderr
    assert (tmp_path / "scratch" / "imagenet-shards" / "train-000000.tar").exists()
    assert "--rdzv-endpoint node-1:24711 -m logitpair train" in (tmp_path / "log.torchrun").read_text()
