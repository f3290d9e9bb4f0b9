"""Import an optional dependency where it is used, or say how to install it."""

from importlib import import_module
from types import ModuleType

HOME = "https://github.com/hf-curriculum/hf-curriculum"
"""Where the project is."""
SOURCE = f"git+{HOME}"
"""Where the package is installed from; empty once there is a release, which its name finds."""


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
            f"{purpose} needs `{error.name}`. Install it with `{install_line(extra)}`.",
            name=error.name,
        ) from error


def install_line(extra: str = "") -> str:
    """What to type to have the package with an extra.

    Example:
        >>> install_line("all")
        "pip install 'hf-curriculum[all] @ git+https://github.com/hf-curriculum/hf-curriculum'"
    """
    name = f"hf-curriculum[{extra}]" if extra else "hf-curriculum"
    return f"pip install '{name} @ {SOURCE}'" if SOURCE else f"pip install '{name}'"
