"""A fitted scorer as two files: its arrays in safetensors, the rest in JSON; no pickle is written or read."""

import json
import os
import reprlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from hf_curriculum.data import require_name
from hf_curriculum.files import appears_whole
from hf_curriculum.scoring.difficulty import KNOTS, NORMALIZATIONS

CONFIG, TENSORS = "config.json", "model.safetensors"
FORMAT_VERSION = 1
_LIMIT = 16 * 2**20  # bytes of JSON: a million labels fit, and what it is parsed to fits in memory
_DEEPEST = 32  # objects in objects of trained_on
_AGAIN = "Download it again, or save the scorer again."
Arrays = Mapping[str, NDArray[np.float32]]


def write(folder: Path, arrays: Arrays, config: Mapping[str, Any]) -> None:
    """Write both files, over those that are there.

    Args:
        folder: Where they go; exists.
        arrays: ``centroids`` of shape ``(K, dim)``, ``mean`` and ``scale`` of shape ``(dim,)``, ``quantiles`` of
            shape ``(K, Q)``; float32.
        config: From :func:`plain_config`.
    """
    # The old file may be mapped into memory, by this process too: it is replaced, not written over. The config comes
    # last, so that a save that broke off is one without a config.
    with appears_whole(folder / TENSORS) as file:
        file.write(save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))
    with appears_whole(folder / CONFIG) as file:
        file.write(json.dumps(config, indent=2).encode())


def read(folder: Path) -> tuple[dict[str, NDArray[np.float32]], dict[str, Any]]:
    """Read both files, and check that they are those of a scorer and agree.

    Args:
        folder: Where they are; other files in it are not opened.

    Returns:
        The arrays and the config that :func:`write` took; the config may have further fields.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is damaged, or a field or an array is not what it has to be.
    """
    for name in (CONFIG, TENSORS):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder} has no {name}, so no scorer is stored there. Check the name; save_pretrained(folder) and "
                "push_to_hub(repo_id) of a fitted scorer store one."
            )
    config = _read_config(folder / CONFIG)
    k, dim, knots = sum(config["sizes"]), config["dim"], KNOTS[config["normalize"]]
    shapes = {"centroids": (k, dim), "mean": (dim,), "scale": (dim,), "quantiles": (k, knots)}
    return _read_arrays(folder / TENSORS, shapes), config


def locate(source: str | Path, **options: Any) -> Path:
    """The folder of a stored scorer; one of the Hub is downloaded, both files from one commit.

    Args:
        source: A folder, or the id of a model repository.
        **options: ``revision``, ``token``, ``cache_dir``, ``force_download``, ``local_files_only``.

    Raises:
        FileNotFoundError: If there is no such folder, and no such repository can be had.
        ValueError: If it can be the name of neither.
    """
    require_name(str(source), "The name of the scorer")
    if os.path.isdir(source):  # unlike Path, it bears any name
        return Path(source)
    try:
        return Path(snapshot_download(str(source), allow_patterns=[CONFIG, TENSORS], **options))
    except (OSError, HFValidationError) as error:
        raise FileNotFoundError(
            f"{str(source)!r} is neither a folder here nor a repository that can be had from the Hub. Check the "
            f"spelling, the revision, the connection and, if it is private, the token. The Hub says: {error}"
        ) from error


def plain_config(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The config as it will be read: as JSON has it, with ``format_version``.

    Args:
        fields: All other fields, as docs/scorer.md lists them.

    Raises:
        ValueError: If a field holds what JSON cannot, or all are too large to be read again.
    """
    config = {"format_version": FORMAT_VERSION, **fields}
    try:
        text = json.dumps(config, indent=2, allow_nan=False, default=_plain)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{CONFIG} cannot hold the settings of this scorer, or its trained_on: {error}.") from error
    if len(text) > _LIMIT:
        raise ValueError(f"{CONFIG} would have {len(text):,} bytes, more than the {_LIMIT:,} that can be read again.")
    return json.loads(text)


def plain_labels(labels: NDArray[Any]) -> list[Any]:
    """Labels as JSON holds them.

    Args:
        labels: Shape ``(K,)``.

    Raises:
        ValueError: Unless all are strings, all are integers or all are booleans.
    """
    values = [label.item() if isinstance(label, np.generic) else label for label in labels.tolist()]
    kinds = {type(value) for value in values}
    if len(kinds) != 1 or not kinds <= {str, int, bool}:
        names = sorted(kind.__name__ for kind in kinds)
        raise ValueError(
            f"Only labels that are all strings, all integers or all booleans can be stored; these are {names}. Fit "
            "the scorer on labels.astype(str)."
        )
    return values


def _plain(value: object) -> Any:
    """Numbers of numpy, such as a seed, as Python's; anything else has no place in JSON."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is not JSON")


def _read_config(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        text = file.read(_LIMIT + 1)
    if len(text) > _LIMIT:
        raise ValueError(f"{path} has more than {_LIMIT:,} bytes; that is no config of a scorer. {_AGAIN}")
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:  # text that is not UTF-8 and numbers of 5,000 digits included
        raise ValueError(f"{path} is not JSON ({error}). {_AGAIN}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path} holds a {type(config).__name__}, not an object. {_AGAIN}")
    _check_version(path, config.get("format_version"))
    for name, (is_right, wanted) in _FIELDS.items():
        if name not in config:
            raise ValueError(f"{path} has no field {name!r}. {_AGAIN}")
        if not is_right(config[name]):
            raise ValueError(f"{path}: field {name!r} must be {wanted}, got {reprlib.repr(config[name])}. {_AGAIN}")
    labels = config["centroid_labels_"]
    if labels is not None and len(labels) != sum(config["sizes"]):
        raise ValueError(
            f"{path}: field 'centroid_labels_' has {len(labels)} labels for {sum(config['sizes'])} centroids. {_AGAIN}"
        )
    found, wanted = len(config["sizes"]), config["repeats"]
    if found != wanted:
        raise ValueError(f"{path}: field 'sizes' has {found} clusterings, but repeats is {wanted}. {_AGAIN}")
    return config


def _check_version(path: Path, version: object) -> None:
    if not _is_count(version):
        raise ValueError(
            f"{path}: field 'format_version' must be a positive integer, got {reprlib.repr(version)}. "
            "Is this the config of a scorer?"
        )
    if version != FORMAT_VERSION:
        raise ValueError(
            f"{path} has format_version {version}; this version of hf-curriculum reads {FORMAT_VERSION}. Upgrade it: "
            "pip install -U hf-curriculum."
        )


def _read_arrays(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, NDArray[np.float32]]:
    try:
        with safe_open(path, framework="numpy") as file:  # refuses a header that does not fit the file
            for name, shape in shapes.items():
                if name not in file.keys():  # noqa: SIM118 - it has no __contains__
                    raise ValueError(f"{path} has no tensor {name!r}. {_AGAIN}")
                header = file.get_slice(name)
                found = header.get_dtype(), tuple(header.get_shape())
                if found != ("F32", shape):
                    raise ValueError(
                        f"{path}: tensor {name!r} is {found[0]} of shape {found[1]}, but {CONFIG} (sizes, dim, "
                        f"normalize) asks for F32 of shape {shape}. The files are not of one scorer. {_AGAIN}"
                    )
            arrays = {name: file.get_tensor(name) for name in shapes}
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file ({error}). {_AGAIN}") from error
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ValueError(f"{path}: tensor {name!r} has NaN or infinite numbers. {_AGAIN}")
    if not (arrays["scale"] > 0).all():
        raise ValueError(f"{path}: tensor 'scale' must be positive, its lowest is {arrays['scale'].min()}. {_AGAIN}")
    if not (np.diff(arrays["quantiles"], axis=1) >= 0).all():
        raise ValueError(f"{path}: tensor 'quantiles' must ascend in each row. {_AGAIN}")
    return arrays


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return _is_integer(value) and value > 0


def _is_index(value: Any) -> bool:
    """A Davies-Bouldin index; infinity, which JSON lacks, is ``"inf"``."""
    number = _is_integer(value) or isinstance(value, float)
    return value == "inf" or number and 0 <= value <= sys.float_info.max


def _is_curve(value: object) -> bool:
    return isinstance(value, dict) and all(
        key.isdecimal() and len(key) < 19 and _is_index(index) for key, index in value.items()
    )


def _is_labels(value: object) -> bool:
    kinds = {type(label) for label in value} if isinstance(value, list) else set()
    return len(kinds) == 1 and kinds <= {str, int, bool}


def _is_shallow(value: Any) -> bool:
    """Whether what JSON holds can be written again, which takes more of the stack than to read it."""
    level = [value]
    for _ in range(_DEEPEST):
        level = [part for whole in level if isinstance(whole, dict | list) for part in _parts(whole)]
    return not level


def _parts(whole: Any) -> list[Any]:
    return list(whole.values()) if isinstance(whole, dict) else whole


def _or_null(is_right: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or is_right(value)


def _is_a(kind: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kind)


_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "version": (_is_a(str), "a string"),
    "n_clusters": (_or_null(_is_count), "a positive integer or null"),
    "cluster_range": (
        _or_null(lambda value: isinstance(value, list) and len(value) == 2 and all(map(_is_count, value))),
        "two positive integers or null",
    ),
    "normalize": (lambda value: value in NORMALIZATIONS, f"one of {list(NORMALIZATIONS)}"),
    "standardize": (_is_a(bool), "true or false"),
    "l2_normalize": (_is_a(bool), "true or false"),
    "seed": (_is_integer, "an integer"),
    "repeats": (_is_count, "a positive integer"),
    "clusterer": (_or_null(_is_a(str)), "a string or null"),
    "dim": (_is_count, "a positive integer"),
    "sizes": (
        lambda value: isinstance(value, list) and bool(value) and all(map(_is_count, value)),
        "a list of positive integers",
    ),
    "outliers_": (lambda value: _is_integer(value) and value >= 0, "an integer, 0 or more"),
    "davies_bouldin_": (_or_null(_is_index), 'a number, 0 or more, "inf" or null'),
    "davies_bouldin_curve_": (_is_curve, 'an object of numbers, 0 or more, or "inf", by number of clusters'),
    "centroid_labels_": (_or_null(_is_labels), "a list of strings, integers or booleans, or null"),
    "trained_on": (
        _or_null(lambda value: isinstance(value, dict) and _is_shallow(value)),
        f"an object that nests at most {_DEEPEST} deep, or null",
    ),
}
