"""What ``--help`` prints of an option, in as few words as tell it."""

import copy
import re
from argparse import Action
from collections.abc import Iterable
from typing import Any

from jsonargparse import DefaultHelpFormatter

TO_CHOOSE = re.compile(r"logitpair\.\w+\.[A-Z]\w*|torch\.optim\.\w+")  # of hundreds, most of them parts of PyTorch's own
NOT_TO_CHOOSE = {"logitpair.runs.TrainedRun", "torch.optim.Optimizer"}
NUMBERS = re.compile(r"int|float|tuple\[.*\]")  # other types say nothing that the option's words and placeholder do not


class HelpFormatter(DefaultHelpFormatter):
    """jsonargparse's, without ``null``, without calling required what every recipe gives, and without classes of no use here."""

    def add_usage(self, usage: str | None, actions: Iterable[Action], *args: Any, **kwargs: Any) -> None:
        """The usage line, in which no option is required: the recipe gives those that have no default."""
        shown = [copy.copy(action) for action in actions]
        for action in shown:
            action.required = action.required and not action.option_strings
        super().add_usage(usage, shown, *args, **kwargs)

    def _get_type_str(self, action: Action) -> str | None:
        name = (super()._get_type_str(action) or "").removesuffix(" | null")
        return name if NUMBERS.fullmatch(name) else None

    def _expand_help(self, action: Action) -> str:
        text, listed, classes = super()._expand_help(action).partition("known subclasses: ")
        if listed:
            names = [name for name in classes.rstrip(")").split(", ") if TO_CHOOSE.fullmatch(name) and name not in NOT_TO_CHOOSE]
            text += f"{listed}{', '.join(names)})"
        text = re.sub(r"(, )?default: (null|\(\)(?=,)|False(?=\)))", "", text).replace("(, ", "(").removesuffix(" ()")
        return text.replace("(required", "(by default the recipe's") if action.option_strings else text.removesuffix(" (required)")
