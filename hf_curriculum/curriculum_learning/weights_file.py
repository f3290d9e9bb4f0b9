"""Difficulty weights on disk, without pickle; and the conversion of files of the reference code, which are pickles.

``python -m hf_curriculum.curriculum_learning.weights_file OLD.npy NEW.npy`` converts one.
"""

import argparse
import math
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from hf_curriculum.curriculum_learning.pickled import plain_array, read_pickled
from hf_curriculum.files import appears_whole

_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
_NAMES = ("weights", "n_clusters", "features", "labels")
_MOST_TEXT = 2**30  # bytes of labels as strings, which all take as much as the longest


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
        name: _as_text(array) if array.dtype.hasobject else array for name, array in arrays.items()
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
        return _stored(_unzipped(source))
    except Exception as error:  # zip and numpy raise a dozen kinds on damaged files
        raise ValueError(f"{source} is not a whole file of weights: {error}. Save it again.") from error


def convert_weights(old: str | Path, new: str | Path) -> Path:
    """Convert a file that the reference code saved, a pickled dictionary, without running what may be in it.

    Nothing that the file names is called: its arrays of numbers and strings are made here, of bytes whose number fits
    their shape, and a file that names any other thing is refused.

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
        except Exception as error:  # numpy and pickletools raise a dozen kinds on damaged files
            raise ValueError(f"{old} cannot be converted: {error or type(error).__name__}.") from error
    return write_weights(new, stored)


def _unpickled(file: Any) -> dict[str, NDArray[Any]]:
    shape, _, dtype = _header(file)
    if shape != () or dtype != np.dtype(object):
        raise ValueError(f"it holds an array of {dtype} of shape {shape}, not the dictionary of the reference code")
    return _chosen(read_pickled(file.read()), plain_array)


def _unzipped(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an archive; of entries that are compressed, larger than they say or not ours none is read."""
    with zipfile.ZipFile(path) as archive:
        entries: dict[str, zipfile.ZipInfo] = {}
        for entry in archive.infolist():
            name = entry.filename.removesuffix(".npy")
            if name in entries:
                raise ValueError(f"it has two entries {name!r:.100}")
            entries[name] = entry
        return _chosen(entries, lambda entry: _plain_entry(archive, entry))


def _plain_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> NDArray[Any]:
    if entry.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"its entry {entry.filename!r} is compressed, as this library does not write it")
    with archive.open(entry) as file:
        shape, is_fortran, dtype = _header(file)
        if dtype.hasobject:
            raise ValueError(f"its entry {entry.filename!r} holds Python objects, which allow_pickle=False refuses")
        if dtype.kind not in "biufSU" or dtype.itemsize == 0 or any(length < 0 for length in shape):
            raise ValueError(f"its entry {entry.filename!r} is an array of {dtype} of shape {shape}")
        left = entry.file_size - file.tell()
        if left != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"its entry {entry.filename!r} has {left} bytes, not those of {dtype} of shape {shape}")
        return np.frombuffer(file.read(), dtype).reshape(shape, order="F" if is_fortran else "C")


def _header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = npy.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"its .npy format {version} is none of {list(_HEADERS)}")
    return _HEADERS[version](file)


def _chosen(entries: Mapping[str, Any], read: Callable[[Any], NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Those that we know; what others hold is not looked at."""
    missing = [name for name in ("weights", "n_clusters") if entries.get(name) is None]
    if missing:
        raise ValueError(f"it has no {' and no '.join(missing)}, only {sorted(entries)[:10]!r:.300}")
    return {name: read(entries[name]) for name in _NAMES if entries.get(name) is not None}


def _stored(arrays: Mapping[str, NDArray[Any]]) -> StoredWeights:
    n_clusters = arrays["n_clusters"]
    if n_clusters.shape != () or n_clusters.dtype.kind not in "iu":
        raise ValueError(f"its n_clusters is {n_clusters!r:.100}, not a whole number")
    return StoredWeights(
        weights=arrays["weights"],
        n_clusters=int(n_clusters),
        features=arrays.get("features"),
        labels=arrays.get("labels"),
    )


def _as_text(labels: NDArray[Any]) -> NDArray[np.str_]:
    """Labels that are Python objects as strings."""
    texts = [str(label) for label in labels.flat]
    needed = 4 * len(texts) * max(map(len, texts), default=0)
    if needed > _MOST_TEXT:
        raise ValueError(f"The labels would take {needed:,} bytes as strings, more than {_MOST_TEXT:,}: shorten them.")
    return np.array(texts, str).reshape(labels.shape)


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
