"""The exception for bad input."""

# of PyTorch's allocator, of oneDNN, and of cuBLAS and cuDNN
_OUT_OF_MEMORY = ("can't allocate memory", "could not create a primitive", "STATUS_ALLOC_FAILED")


class InputError(ValueError):
    """Bad input, in one line that names the option, the value and what is accepted.

    The command line prints the line and exits with a code other than 0; in Python it is an ordinary ``ValueError``.
    """


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or the name of its class where that is empty."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def raised(error: BaseException) -> str:
    """What code of the user's raised, in one line: ``raised ValueError: no weights``."""
    message = " ".join(str(error).split())
    return f"raised {type(error).__name__}{f': {message}' if message else ''}"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the machine's memory, or a GPU's, was too small; PyTorch says it of the first by a plain ``RuntimeError``."""
    return (
        isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or any(words in str(error) for words in _OUT_OF_MEMORY)
    )
