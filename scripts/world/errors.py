"""What is raised for bad input, whichever room finds it."""


class InputError(ValueError):
    """Bad user input; the message is one line: which file, what is wrong, what to do."""


def find_input_error(error: BaseException | None) -> InputError | None:
    """The `InputError` behind an exception: MONAI's Compose wraps what its transforms raise in RuntimeError.

    Args:
        error: any exception.

    Returns:
        The first `InputError` along the chain of `__cause__`, or None.
    """
    while error is not None and not isinstance(error, InputError):
        error = error.__cause__
    return error
