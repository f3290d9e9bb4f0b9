"""Options that a user hands in, checked before anything is done: their names, and numbers of any library."""

import functools
import inspect
import operator
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any, TypeVar

Callee = TypeVar("Callee")


def suggesting(callee: Callee) -> Callee:
    """Have a function, or a class, name the option that was meant where one is given that it does not have.

    Args:
        callee: The function or class.

    Returns:
        The same, with that error.
    """
    found: Any = callee
    if not isinstance(found, type):
        return _suggesting(found, found.__name__)
    found.__init__ = _suggesting(found.__init__, found.__name__)  # type: ignore[misc]
    return callee


def _suggesting(function: Any, name: str) -> Any:
    """The function, which now looks at the names of its options first."""
    known = list(inspect.signature(function).parameters)

    @functools.wraps(function)
    def checked(*args: Any, **options: Any) -> Any:
        for option in options:
            if option not in known:
                raise TypeError(f"{name}() has no option {option!r}. {hint(option, known)}")
        return function(*args, **options)

    return checked


def hint(option: str, known: list[str]) -> str:
    """What may have been meant by the name of an option.

    Args:
        option: The name.
        known: Those that there are.

    Returns:
        A sentence.
    """
    close = get_close_matches(option, known, n=1)
    return f"Did you mean {close[0]!r}?" if close else f"It has {[name for name in known if name != 'self']}."


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


def require_count(count: Any, name: str, least: int = 1, optional: bool = False) -> None:
    """Raise unless an option is an integer, and large enough.

    Args:
        count: The option.
        name: Its name, for the error.
        least: Least value allowed. Default 1.
        optional: Whether ``None`` is allowed. Default ``False``.

    Raises:
        TypeError: If it is no integer.
        ValueError: If it is too small.
    """
    if optional and count is None:
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


def function_name(function: Any) -> str:
    """By what a function is known: of a partial one that of the whole, of an object its class's.

    A ``repr`` would have its place in memory, which another process does not have, and all that was bound to it.

    Args:
        function: Anything that can be called.

    Returns:
        The name.

    Example:
        >>> function_name(functools.partial(int, base=2))
        'int'
    """
    while isinstance(function, functools.partial):
        function = function.func
    return str(getattr(function, "__qualname__", type(function).__qualname__))
