"""Values of options that no command accepts."""

from __future__ import annotations

import pytest
from jsonargparse import Namespace

from logitpair import InputError
from logitpair.cli.options import check_options
from logitpair.evaluation.attack_run import check_name


@pytest.mark.parametrize("name", ["", ".", "..", "a/b"])
def test_what_is_no_name_of_a_folder_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="^--name: "):
        check_options(Namespace(name=name))
    with pytest.raises(InputError, match="^--source: "):
        check_name("--source", name)
