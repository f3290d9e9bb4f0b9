"""Difficulty weights on disk, without pickle; and the conversion of files of the reference code, which are pickles.

``python -m hf_curriculum.curriculum_learning.weights_file OLD.npy NEW.npy`` converts one.
"""

import argparse
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from hf_curriculum.files import appears_whole

_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
_NAMES = ("weights", "n_clusters", "features", "labels")
# All that a pickled array asks for; numpy 2 moved the two functions. The objects are looked up here, not imported
# under the name that a file gives.
_GLOBALS: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0] for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): np.float64(0).__reduce__()[0] for core in ("core", "_core")},
}


@dataclass(frozen=True)
class StoredWeights:
    """What a file of weights holds, of ``N`` rows.

    Attributes:
        weights: Difficulty of each row, finite, shape ``(N,)``.
        n_clusters: Number of clusters.
        features: What was clustered, shape ``(N, dim)``, or ``None``.
        labels: Class of each row, shape ``(N,)``, or ``None``.

    Raises:
        ValueError: If one of them is not of this kind.
    """

    weights: NDArray[np.floating[Any]]
    n_clusters: int
    features: NDArray[np.floating[Any]] | None = None
    labels: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        if not _is_numeric(self.weights, 1) or not np.isfinite(self.weights).all():
            raise ValueError("its weights are not one finite number a row")
        if self.features is not None and not (_is_numeric(self.features, 2) and len(self.features) == self.n):
            raise ValueError(f"its features are not {self.n} vectors, one a row")
        if self.labels is not None and self.labels.shape != (self.n,):
            raise ValueError(f"its labels are not one a row, shape ({self.n},), but {self.labels.shape}")

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.weights)


def write_weights(path: str | Path, stored: StoredWeights) -> Path:
    """Write a file of weights: an ``.npz`` archive of plain arrays, which ``numpy.load(path)`` also opens.

    Args:
        path: Where it goes, over what is there; ``.npy`` is appended where it is missing, as ``numpy.save`` does.
        stored: What it holds; labels that are Python objects become strings.

    Returns:
        The path that was written.
    """
    target = _with_suffix(path)
    arrays = {name: np.asarray(value) for name in _NAMES if (value := getattr(stored, name)) is not None}
    plain: dict[str, Any] = {
        name: array.astype(str) if array.dtype.hasobject else array for name, array in arrays.items()
    }
    with appears_whole(target) as file:
        np.savez(file, **plain)
    return target


def read_weights(path: str | Path) -> StoredWeights:
    """Read a file of :func:`write_weights`.

    Args:
        path: The file; ``.npy`` is appended where it is missing.

    Returns:
        What it holds.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is one of the reference code, a pickle, which :func:`convert_weights` reads; or damaged.
    """
    source = _with_suffix(path)
    with source.open("rb") as file:
        start = file.read(6)
    if start == npy.MAGIC_PREFIX:
        raise ValueError(
            f"{source} is not a file of this library: it may hold pickled objects, as those of the reference code do, "
            f"and to unpickle can run code. Convert it: python -m hf_curriculum.curriculum_learning.weights_file "
            f"{source} new.npy"
        )
    try:
        with np.load(source) as arrays:
            return _stored({name: arrays[name] for name in arrays.files})
    except Exception as error:  # zip and numpy raise a dozen kinds on damaged files
        raise ValueError(f"{source} is not a whole file of weights: {error}. Save it again.") from error


def convert_weights(old: str | Path, new: str | Path) -> Path:
    """Convert a file that the reference code saved, a pickled dictionary, without running what may be in it.

    Nothing but arrays, numbers, strings, lists and dictionaries is built; a file that asks for any other thing is
    refused before that is looked up.

    Args:
        old: The ``.npy`` file of the reference code.
        new: Where the converted file goes, as in :func:`write_weights`; may be the same.

    Returns:
        The path that was written.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not one of the reference code, is damaged, or asks for a forbidden global, which is
            named.
    """
    with Path(old).open("rb") as file:
        try:
            stored = _stored(_unpickled(file))
        except Exception as error:  # a pickle is a program: it can fail in any way
            raise ValueError(f"{old} cannot be converted: {error or type(error).__name__}.") from error
    return write_weights(new, stored)


class _ArraysOnly(pickle.Unpickler):
    """An unpickler that knows the four globals of arrays and no other."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _GLOBALS:
            raise ValueError(
                f"it asks for the global {module}.{name}, which no array needs; such a file may run code when it is "
                "unpickled, so do not load it by other means unless you trust where it comes from"
            )
        return _GLOBALS[module, name]


def _unpickled(file: Any) -> Mapping[str, Any]:
    version = npy.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"its .npy format {version} is none of {list(_HEADERS)}")
    shape, _, dtype = _HEADERS[version](file)
    if shape != () or dtype != np.dtype(object):
        raise ValueError(f"it holds an array of {dtype} of shape {shape}, not the dictionary of the reference code")
    array = _ArraysOnly(file).load()
    content = array.item() if isinstance(array, np.ndarray) and array.size == 1 else array
    if not isinstance(content, dict):
        raise ValueError(f"it holds a {type(content).__name__}, not the dictionary of the reference code")
    return content


def _stored(entries: Mapping[str, Any]) -> StoredWeights:
    missing = [name for name in ("weights", "n_clusters") if name not in entries]
    if missing:
        raise ValueError(f"it has no {' and no '.join(missing)}, only {sorted(map(str, entries))}")
    features, labels = entries.get("features"), entries.get("labels")
    return StoredWeights(
        weights=np.asarray(entries["weights"]),
        n_clusters=int(entries["n_clusters"]),
        features=None if features is None else np.asarray(features),
        labels=None if labels is None else np.asarray(labels),
    )


def _is_numeric(array: NDArray[Any], ndim: int) -> bool:
    return array.ndim == ndim and array.dtype.kind == "f"


def _with_suffix(path: str | Path) -> Path:
    return Path(path) if str(path).endswith(".npy") else Path(f"{path}.npy")


def _main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m hf_curriculum.curriculum_learning.weights_file",
        description="Convert a file of weights that the reference code saved to one that holds no pickle.",
    )
    parser.add_argument("old", help="file of the reference code")
    parser.add_argument("new", help="converted file")
    arguments = parser.parse_args()
    try:
        written = convert_weights(arguments.old, arguments.new)
    except (OSError, ValueError) as error:
        parser.exit(2, f"Error: {error}\n")
    parser.exit(0, f"Wrote {written}.\n")


if __name__ == "__main__":
    _main()
