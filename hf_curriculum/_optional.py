"""Import an optional dependency where it is used, or say how to install it."""

from importlib import import_module
from types import ModuleType


def require_extra(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import ``module``, or name the extra of this package that brings it.

    Args:
        module: Dotted name of the module.
        extra: Extra of ``hf-curriculum`` that installs it.
        purpose: What needs it, the subject of the error's first sentence.

    Returns:
        The imported module.

    Raises:
        ModuleNotFoundError: If the module is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise  # installed, but one of *its* imports is missing: show the true cause
        raise ModuleNotFoundError(
            f"{purpose} needs `{error.name}`. Install it with `pip install 'hf-curriculum[{extra}]'`.",
            name=error.name,
        ) from error
