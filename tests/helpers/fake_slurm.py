"""Slurm on one machine, as far as submitit looks at it: jobs run at once, and what is sent to one reaches all its processes."""

from __future__ import annotations

from pathlib import Path

import pytest

# A process is of the job whose number and folder are in its environment, as Slurm knows a job's processes by their cgroup.
JOB = """
here=$(dirname "$(dirname "$0")")
processes() { grep -lzx "FAKE_SLURM_JOB=$here/$1" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3; }
send() { for process in $(processes "$2"); do [ "$process" = "$(cat "$here/$2.script")" ] || kill -"$1" "$process" 2>/dev/null; done; }
"""
COMMANDS = {
    "sbatch": """
        id=$(( $(ls "$here" | grep -c '\\.sh$') + 1 )); cp "$1" "$here/$id.sh"; touch "$here/$id.running"
        (
            while [ ! -e "$here/$id.cancelled" ]; do
                rm -f "$here/$id.requeue"
                FAKE_SLURM_JOB="$here/$id" SLURM_JOB_ID=$id SLURM_PROCID=0 bash "$here/$id.sh" & echo $! > "$here/$id.script"; wait $!
                [ -e "$here/$id.requeue" ] || break
            done
            rm "$here/$id.running"
        ) > /dev/null 2>&1 < /dev/null &
        echo "Submitted batch job $id"
    """,
    "srun": """
        id=$SLURM_JOB_ID
        while [[ "$1" == --* ]]; do
            case "$1" in --output|--error) path=${2//%j/$id}; path=${path//%t/0}; declare "${1#--}=$path"; shift;; esac; shift
        done
        exec "$@" >> "$output" 2>> "$error"
    """,
    "scontrol": 'echo "$1 $2" >> "$here/log"; touch "$here/$2.requeue"',
    "scancel": """
        echo "scancel $*" >> "$here/log"
        [ "$2" = --signal ] && { send "$3" "$1"; exit; }
        touch "$here/$1.cancelled"; send TERM "$1"; (sleep 30; send KILL "$1") > /dev/null 2>&1 &
    """,
    "sacct": """
        echo 'JobID|State|NodeList'
        for script in "$here"/*.sh; do
            id=$(basename "$script" .sh)
            if [ -e "$here/$id.running" ]; then echo "$id|RUNNING|here"; else echo "$id|COMPLETED|here"; fi
        done
    """,
}


def install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have the commands found; returns the file of what was asked of them, ``requeue 1`` or ``scancel 1``, a line each."""
    (folder / "bin").mkdir(parents=True)
    for name, text in COMMANDS.items():
        (folder / "bin" / name).write_text(f"#!/bin/bash\n{JOB}\n{text}\n")
        (folder / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder / "bin"), prepend=":")
    (folder / "log").touch()
    return folder / "log"
