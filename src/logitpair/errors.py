"""The one exception that means: the input is at fault, not the code."""


class InputError(ValueError):
    """Bad input, told in one line that names the option, the value and what is accepted.

    The command line prints the line and exits with a code other than 0; in Python it is an ordinary ``ValueError``.
    """


def first_line(error: BaseException) -> str:
    """The first line of what an error says; the name of its class where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
