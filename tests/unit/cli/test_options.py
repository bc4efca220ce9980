"""Values of options that no command accepts."""

from __future__ import annotations

import os

import pytest
from jsonargparse import Namespace

from logitpair import InputError
from logitpair.attacks.engine import ENGINE
from logitpair.cli.options import check_options, use_engine
from logitpair.evaluation.attack_run import check_name


@pytest.mark.parametrize("name", ["", ".", "..", "a/b"])
def test_what_is_no_name_of_a_folder_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="^--name: "):
        check_options(Namespace(name=name))
    with pytest.raises(InputError, match="^--source: "):
        check_name("--source", name)


def test_an_engine_holds_for_processes_too_and_others_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENGINE, "eager")
    for name, holds in ((None, "eager"), ("auto", "auto"), ("eager", "eager")):
        use_engine(name)
        assert os.environ[ENGINE] == holds, "what is given goes over the environment"
    with pytest.raises(InputError, match="^--engine: 'compiled' is not accepted; accepted: auto, eager$"):
        use_engine("compiled")
