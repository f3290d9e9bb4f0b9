"""Which modules are of installed packages, and in which edition: those count by it, others by what they hold."""

import builtins
import functools
import importlib.metadata
import os
import site
import sys
import sysconfig
import types

import xxhash


def hashed(*parts: str | bytes | memoryview) -> bytes:
    """A hash of parts, of which no two lists run together alike."""
    found = xxhash.xxh3_128()
    for part in parts:
        part = part.encode(errors="surrogatepass") if isinstance(part, str) else part
        found.update(len(part).to_bytes(8, "little"))
        found.update(part)
    return found.digest()


@functools.cache
def _installed_folders() -> tuple[str, ...]:
    folders = [sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    folders += [*site.getsitepackages(), site.getusersitepackages()]
    return tuple({os.path.realpath(folder) + os.sep for folder in folders})


@functools.cache
def is_path_installed(path: str) -> bool:
    """Whether a file is of the standard library or of an installed package."""
    if path.startswith("<frozen") or path in ("built-in", "frozen"):
        return True
    return not path.startswith("<") and os.path.realpath(path).startswith(_installed_folders())


def is_installed(module: types.ModuleType | None, name: str) -> bool:
    """Whether a module is of an installed package, and so counts by its edition.

    Args:
        module: The module, if it is loaded.
        name: Its name.

    Returns:
        Whether it is.
    """
    top = name.partition(".")[0]
    if top == "__main__":
        return is_path_installed(getattr(module, "__file__", None) or "<stdin>")
    path = getattr(module, "__file__", None)
    return top in (*sys.stdlib_module_names, builtins.__name__, "hf_curriculum") or is_path_installed(path or "<>")


_DISTRIBUTIONS = {"PIL": "pillow", "sklearn": "scikit-learn", "skimage": "scikit-image", "cv2": "opencv-python"}


@functools.cache
def edition(name: str) -> str:
    """Version of the package that a module is of, and a hash of its files as they were installed.

    Args:
        name: Of the module.

    Returns:
        The words; of Python itself for the standard library, empty for what is not installed.
    """
    top = name.partition(".")[0]
    if top != name:
        return edition(top)
    if top in sys.stdlib_module_names:
        return f"{sys.version_info.major}.{sys.version_info.minor}"
    try:
        found = importlib.metadata.distribution(_DISTRIBUTIONS.get(top, top))
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return str(getattr(sys.modules.get(top), "__version__", ""))
    files = [line for line in (found.read_text("RECORD") or "").splitlines() if ".py," in line or ".so" in line]
    return f"{found.version} {hashed(*sorted(files)).hex()}"
