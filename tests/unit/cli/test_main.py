"""Help, exit codes, and the one line that everything ends in that goes wrong."""

from __future__ import annotations

import importlib
import io
import logging
import os
import sys
from pathlib import Path

import pytest
import torch
from command_line import failing

import logitpair as lp
from logitpair.cli.main import main
from logitpair.cli.parser import COMMANDS
from logitpair.cli.terminal import ConsoleHandler, log_to_console


@pytest.mark.parametrize("arguments", [[], ["--help"], ["--version"]])
def test_help_and_version(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"logitpair {lp.__version__}" if arguments == ["--version"] else "usage: logitpair")
    assert "--version" in arguments or all(command in out for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert main([command, "--help"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert out.startswith(f"usage: logitpair {command}")
    assert COMMANDS[command] in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("train digits-alp --scale smoke --print_config", "epochs: 1"),
        ("train digits-alp --model.help logitpair.models.LeNet", "filters"),
        ("plan digits-alp --objective.help", "label_smoothing"),
    ],
)
def test_settings_are_printed_and_explained(capsys: pytest.CaptureFixture[str], arguments: str, said: str) -> None:
    assert main(arguments.split()) == 0
    out, err = capsys.readouterr()
    assert said in out
    assert not err


def test_an_unknown_command_gives_a_near_match(capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean train?" in failing(capsys, "trian")
    assert all(command in failing(capsys, "zzz") for command in COMMANDS)
    assert "no command '--bogus'" in failing(capsys, "--bogus")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("evaluate run --atacks fgsm_1", "no option --atacks; did you mean --attacks?"),
        ("evaluate run --atacks=fgsm_1", "no option --atacks; did you mean --attacks?"),
        ("evaluate -- run --batch-size=3", "--batch-size=3 stands after --; options stand before it"),
        ("train digits-plain -- --epochs 1", "--epochs stands after --; options stand before it"),
        ("evaluate -- run two", "'two' is one argument too many; see --help"),
        ("recipes --zzz", "no option --zzz; see --help"),
        ("recipes digits-alp digits-clp", "'digits-clp' is one argument too many; see --help"),
        ("audit run --example 5", "no option --example; did you mean --examples?"),  # argparse would take it for the whole name
        ("audit run --pre float32", "no option --pre; did you mean --pretrained?"),
        ("train digits-plain --epoch 1", "no option --epoch; did you mean --epochs?"),
        ("sweep digits-plain --epoch 1,2 --out {tmp}/sweep", "--epoch 1: no option --epoch; did you mean --epochs?"),
        ("plan digits-plain --epoch 1", "no option --epoch; did you mean --epochs?"),
    ],
)
def test_an_unknown_option_gives_a_near_match(capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str, said: str) -> None:
    assert failing(capsys, *command.format(tmp=tmp_path).split()).removeprefix("logitpair: error: ") == said


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("audit run --batch-size x", "--batch-size: expected a whole number or auto, not 'x'"),
        ("audit run --minutes=x", "--minutes: expected a number, not 'x'"),
        ("audit run --minutes 0", "--minutes must be above 0, not 0"),
        ("audit run --budget inf", "--budget: expected a number, not 'inf'"),
        ("audit run --budget .inf", "--budget must be above 0, not inf"),
        ("audit run --budget .nan", "--budget must be above 0, not nan"),
        ("audit run --json=yes", "--json takes no value, 'yes' is one"),
        ("audit run --junit", "argument --junit: expected one argument"),
        ("train digits-plain --objective.label_smoothing x", "--objective.label_smoothing: expected a number, not 'x'"),
    ],
)
def test_an_error_names_the_option_as_it_was_given(capsys: pytest.CaptureFixture[str], command: str, said: str) -> None:
    assert failing(capsys, *command.split()).removeprefix("logitpair: error: ") == said


def test_missing_arguments_are_named_as_the_command_names_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert failing(capsys, "report").endswith("the following arguments are required: runs")


def test_the_traceback_is_shown_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    for no in ("", "0"):
        monkeypatch.setenv("LOGITPAIR_TRACEBACK", no)
        assert main(["zzz"]) == 2
    monkeypatch.setenv("LOGITPAIR_TRACEBACK", "1")
    with pytest.raises(lp.InputError, match="no command"):
        main(["zzz"])


def test_a_log_that_cannot_be_written_changes_no_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stderr", Full())
    assert main(["zzz"]) == 2
    logging.getLogger("logitpair").addHandler(handler := ConsoleHandler())
    try:
        logging.getLogger("logitpair").warning("of something")
    finally:
        logging.getLogger("logitpair").removeHandler(handler)


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (lp.InputError("--eps: 'x'\n  is no number"), 2, "error: --eps: 'x' is no number"),
        (
            OSError(28, "No space left on device", "run/config.yaml"),
            2,
            "error: cannot read or write run/config.yaml: No space left on device",
        ),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79 GiB"),
            2,
            "error: out of memory (CUDA out of memory. Tried to allocate 20.00 MiB.); fewer images at once take less: --batch-size, "
            "in training batch_size",
        ),
        (
            RuntimeError("could not create a primitive"),
            2,
            "error: out of memory (could not create a primitive); fewer images at once take less: --batch-size, in training batch_size",
        ),
        (MemoryError(), 2, "error: out of memory (MemoryError); fewer images at once take less: --batch-size, in training batch_size"),
        (UserWarning("--model: made an error by python -W error"), 2, "error: --model: made an error by python -W error"),
        (ArithmeticError("the loss is not finite"), 3, "error: the loss is not finite"),
        (SystemExit(0), 2, "error: code of a network, a data set or a library ended the program (raised SystemExit: 0)"),
        (KeyboardInterrupt(), 130, "interrupted; files written before are whole"),
        (KeyboardInterrupt("saved at step 3"), 130, "saved at step 3"),
    ],
)
def test_errors_are_one_line_and_an_exit_code(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, line: str
) -> None:
    def run(arguments: object) -> None:
        raise error

    monkeypatch.setattr(importlib.import_module("logitpair.cli.commands.recipes"), "run", run)
    assert failing(capsys, "recipes", code=code) == f"logitpair: {line}"


def test_threads_that_wait_sleep_unless_the_user_has_chosen(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
    for chosen in (None, *names):
        for name in names:
            monkeypatch.delenv(name, raising=False)
        if chosen:
            monkeypatch.setenv(chosen, "active")
        assert main(["--version"]) == 0
        assert os.environ.get("OMP_WAIT_POLICY") == {None: "passive", "OMP_WAIT_POLICY": "active"}.get(chosen)


def test_ctrl_c_while_libraries_are_imported(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted:
        def __getattr__(self, name: str) -> None:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "logitpair.cli.parser", Interrupted())
    assert failing(capsys, "recipes", code=130) == "logitpair: interrupted; nothing was begun"


def test_what_the_library_logs_is_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_console()
    log_to_console()
    logger = logging.getLogger("logitpair")
    logger.info("step 1: [bold] is not markup here, and a line may be as long as it likes " + "x" * 200)
    logger.warning("slow")
    captured = capsys.readouterr()
    assert captured.out == f"step 1: [bold] is not markup here, and a line may be as long as it likes {'x' * 200}\n"
    assert captured.err == "logitpair: warning: slow\n"
