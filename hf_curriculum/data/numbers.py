"""Numbers that a user hands in as options: of any library, checked before anything is done."""

import operator
from numbers import Integral, Real
from typing import Any


def plain_number(value: Any) -> Any:
    """A number of numpy, or of any other kind, as one of Python; all else as it is."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return value
    return operator.index(value) if isinstance(value, Integral) else float(value)


def is_number(value: Any, kind: Any = int | float) -> bool:
    """Whether a value is a number of this kind; a bool is none.

    Args:
        value: The value, plain.
        kind: ``int``, ``float``, or both (default).

    Returns:
        Whether it is.
    """
    return isinstance(value, kind) and not isinstance(value, bool)


def require_count(count: Any, name: str, least: int = 1) -> None:
    """Raise unless an option is an integer, and large enough; ``None``, the default of many, passes.

    Args:
        count: The option.
        name: Its name, for the error.
        least: Least value allowed. Default 1.

    Raises:
        TypeError: If it is no integer.
        ValueError: If it is too small.
    """
    if count is None:
        return
    if not is_number(plain_number(count), int):
        raise TypeError(f"{name} must be an integer, got {count!r}.")
    if count < least:
        raise ValueError(f"{name} must be at least {least}, got {count}.")


def require_number(number: Any, name: str) -> None:
    """Raise unless an option is a real number.

    Args:
        number: The option.
        name: Its name, for the error.

    Raises:
        TypeError: If it is none.
    """
    if not is_number(plain_number(number)):
        raise TypeError(f"{name} must be a number, got {number!r}.")
