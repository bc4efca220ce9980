"""What jsonargparse says of settings that it or a class refuses, as one line."""

import contextlib
import difflib
import inspect
import pkgutil
import re
from argparse import ArgumentError
from collections.abc import Generator, Mapping, Sequence
from typing import Any

from jsonargparse import ArgumentParser, Namespace

import logitpair.config.numbers  # noqa: F401  # pyright: ignore[reportUnusedImport]  (whoever parses takes 8/255)
from logitpair.errors import InputError, is_out_of_memory, raised

_LIST = "a list such as [a,b]"
_ACCEPTED = {"float": "a number", "int": "a whole number", "bool": "true or false", "tuple": _LIST, "list": _LIST, "Sequence": _LIST}
# what the second of two classes that a setting may have says, where the first is not meant
_OTHER_CLASS = re.compile(r"- Import path \S+ does not correspond to a subclass of \w+\n\s*- (?:(?:Problem with|Parser key) .*:\s+)*(.*)")


@contextlib.contextmanager
def refusals() -> Generator[None]:
    """Turn whatever jsonargparse raises into an ``InputError``: the one that a class raised, however deep, or else ``one_line``.

    So is what the import of a class, which may be the user's, or its constructor raises, but for what the system refuses.
    """
    try:
        yield
    except (InputError, OSError, Warning):
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, InputError):
            cause = cause.__cause__ or cause.__context__
        if cause is not None:
            reason = str(cause)
        elif isinstance(error, ArgumentError | AttributeError | TypeError | ValueError | RuntimeError):
            reason = one_line(error)
        else:
            reason = f"code that they name {raised(error)}; LOGITPAIR_TRACEBACK=1 shows where"
        of_a_setting = isinstance(error, ArgumentError | AttributeError | TypeError | ValueError)
        raise InputError(reason if of_a_setting else f"cannot be built from these settings: {reason}") from error


@contextlib.contextmanager
def whole_names(settings: Mapping[str, Any]) -> Generator[None]:
    """Name a setting that a class refuses, as ``eps must be at least 0, not -1``, by its whole dotted name, where one alone is meant."""
    try:
        yield
    except InputError as error:
        name, _, said = str(error).partition(" ")
        meant = [key for key, value in settings.items() if key.rpartition(".")[2] == name and _says(said, value)]
        if len(meant) != 1:
            raise
        raise InputError(f"{meant[0].replace('.init_args', '')} {said}") from error


def parse_known(parser: ArgumentParser, arguments: Sequence[str]) -> Namespace:
    """The parsed arguments; the refusal of one that the parser does not know names the option that is likely meant."""
    try:
        return parser.parse_args(list(arguments))
    except ArgumentError as error:
        unknown = re.match(r"unrecognized arguments: ([^\s=]+)", str(error), re.IGNORECASE)
        if unknown is None:
            raise
        options = [option for action in parser._actions for option in action.option_strings]  # pyright: ignore[reportPrivateUsage]
        unnamed = arguments[arguments.index("--") + 1 :] if "--" in arguments else []
        if misplaced := [each for each in unnamed if each.partition("=")[0] in options]:
            raise InputError(f"{misplaced[0]} stands after --; options stand before it") from error
        near, is_option = nearest(unknown[1], options), unknown[1].startswith("-")
        found = f"no option {unknown[1]}" if is_option else f"'{unknown[1]}' is one argument too many"
        raise InputError(f"{found}; {f'did you mean {near}?' if near and is_option else 'see --help'}") from error


def nearest(name: str, known: Sequence[str]) -> str | None:
    """The known name that is likely meant: one that the name abbreviates, or else one that is spelled like it."""
    near = [each for each in known if each.startswith(name)] or difflib.get_close_matches(name, known, n=1)
    return near[0] if near else None


def one_line(error: BaseException) -> str:
    """The innermost reason of jsonargparse's nested error, behind the setting's whole dotted name.

    This alone knows jsonargparse's wording, and leaves what it does not recognise as it is.
    """
    whole, innermost, cause = str(error), error, error.__cause__
    while cause is not None and _first_line(str(cause)) in whole:
        innermost, cause = cause, cause.__cause__
    said = raised(innermost) if type(innermost) is KeyError else str(innermost)
    said = other[1] if (other := _OTHER_CLASS.search(whole)) else said
    reason = _first_line(said)
    keys = re.findall(r'Parser key "([\w.]+)":', whole.partition(reason)[0])
    if wrong_type := re.match(r"Expected an? <class '(?:\w+\.)*(\w+)'>(.*)", reason):
        words = re.findall(r"Literal\['(\w+)'\]", whole.partition("Errors:")[0])  # a word that is accepted besides
        reason = f"expected {' or '.join([_ACCEPTED.get(wrong_type[1], f'a {wrong_type[1]}'), *words])}{wrong_type[2]}"
    elif choice := re.match(r"Expected a (?:typing\.)?Literal\[(.*)\]", reason):
        reason = f"expected {choice[1]}"
    elif path := re.match(r"Expected a dot import path string: (.*)", reason):
        reason = f"expected an import path such as package.module.Name, not '{path[1]}'"
    elif flag := re.match(r"argument (\S+): ignored explicit argument (.*)", reason):
        reason = f"{flag[1]} takes no value, {flag[2]} is one"
    elif reason.startswith("No module named "):
        reason += "; install it, or put its folder on PYTHONPATH (`python -m logitpair` looks in the current folder too)"
    elif reason.startswith("Option ") and (classes := re.findall(r"(?:given class_path |Namespace\(class_path=)'([\w.]+)'", whole)):
        with contextlib.suppress(ImportError, AttributeError, ValueError):
            accepted = inspect.signature(pkgutil.resolve_name(classes[-1])).parameters
            reason = f"{reason} by {classes[-1]}; accepted: {', '.join(accepted)}"
    value = re.search(r"\. Got value: (.*)", said)
    found = f", not {'empty or null' if value[1] == 'None' else repr(value[1])}" if value and "Namespace(" not in value[1] else ""
    return ": ".join([*filter(None, [".".join(keys)]), reason + found])


def _says(said: str, value: Any) -> bool:
    """Whether this value is what was said not to be accepted."""
    texts = {str(value), f"{value:g}" if isinstance(value, float) else repr(value)}
    return any(re.search(rf", not {re.escape(text)}(?:;|$)", said) for text in texts)


def _first_line(said: str) -> str:
    """Without the value that jsonargparse appends."""
    return said.partition("\n")[0].partition(". Got value: ")[0]
