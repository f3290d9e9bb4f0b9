"""``config.json`` of a stored scorer: its fields, checked one by one."""

import json
import reprlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from hf_curriculum._optional import install_line
from hf_curriculum.scoring.difficulty import NORMALIZATIONS

CONFIG = "config.json"
MEASURES = {"distance": 1, "margin": 2}
"""What a difficulty is made of, and the lowest ``format_version`` whose readers know it."""
FORMAT_VERSION = max(MEASURES.values())
AGAIN = "Download it again, or save the scorer again."
_DEEPEST = 32  # objects in objects of trained_on
_LIMIT = 16 * 2**20  # bytes of JSON: a million labels fit, and what it is parsed to fits in memory


def plain_config(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The config as it will be read: as JSON has it, with ``format_version``.

    Args:
        fields: All other fields, as docs/scorer.md lists them.

    Returns:
        All fields.

    Raises:
        ValueError: If a field holds what JSON cannot, or all are too large to be read again.
    """
    config = {"format_version": MEASURES[fields["measure"]], **fields}
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

    Returns:
        One a label.

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


def plain_index(value: float | None) -> float | str | None:
    """A Davies-Bouldin index as JSON has it: infinity, which it lacks, is ``"inf"``; one cluster has none, null."""
    return "inf" if value is not None and np.isinf(value) else value


def _plain(value: object) -> Any:
    """Numbers of numpy, such as a seed, as Python's; anything else has no place in JSON."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is not JSON")


def read_config(path: Path) -> dict[str, Any]:
    """Read the config, and check each field and that they agree.

    Args:
        path: The file.

    Returns:
        What :func:`plain_config` gave; there may be further fields.

    Raises:
        ValueError: If the file is too large, is not JSON, is of another format, or a field is not what it has to be.
    """
    with path.open("rb") as file:
        text = file.read(_LIMIT + 1)
    if len(text) > _LIMIT:
        raise ValueError(f"{path} has more than {_LIMIT:,} bytes; that is no config of a scorer. {AGAIN}")
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:  # text that is not UTF-8 and numbers of 5,000 digits included
        raise ValueError(f"{path} is not JSON ({error}). {AGAIN}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path} holds a {type(config).__name__}, not an object. {AGAIN}")
    _check_version(path, config.get("format_version"))
    for name, value in _OF_EARLIER_RELEASES.items():
        config.setdefault(name, value)
    for name, (is_right, wanted) in _FIELDS.items():
        if name not in config:
            raise ValueError(f"{path} has no field {name!r}. {AGAIN}")
        if not is_right(config[name]):
            raise ValueError(f"{path}: field {name!r} must be {wanted}, got {reprlib.repr(config[name])}. {AGAIN}")
    _check_agreement(path, config)
    return config


def _check_agreement(path: Path, config: Mapping[str, Any]) -> None:
    labels = config["centroid_labels_"]
    if labels is not None and len(labels) != sum(config["sizes"]):
        raise ValueError(
            f"{path}: field 'centroid_labels_' has {len(labels)} labels for {sum(config['sizes'])} centroids. {AGAIN}"
        )
    if config["measure"] == "margin" and len(set(labels or [])) < 2:
        raise ValueError(
            f"{path}: measure 'margin' needs labels of two or more classes in 'centroid_labels_', got "
            f"{reprlib.repr(labels)}. {AGAIN}"
        )
    found, wanted = len(config["sizes"]), config["repeats"]
    if found != wanted:
        raise ValueError(f"{path}: field 'sizes' has {found} clusterings, but repeats is {wanted}. {AGAIN}")


def _check_version(path: Path, version: object) -> None:
    if not _is_count(version):
        raise ValueError(
            f"{path}: field 'format_version' must be a positive integer, got {reprlib.repr(version)}. "
            "Is this the config of a scorer?"
        )
    if version > FORMAT_VERSION:
        raise ValueError(
            f"{path} has format_version {version}; this version of hf-curriculum reads up to {FORMAT_VERSION}. "
            f"Upgrade it: {install_line().replace('install', 'install -U')}."
        )


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_index(value: Any) -> bool:
    """What :func:`plain_index` gives, but for null."""
    number = _is_integer(value) or isinstance(value, float)
    return value == "inf" or number and 0 <= value <= sys.float_info.max


def _is_curve(value: object) -> bool:
    return isinstance(value, dict) and all(
        key.isdecimal() and len(key) < 19 and _is_index(index) for key, index in value.items()
    )


def _is_labels(value: object) -> bool:
    kinds = {type(label) for label in value} if isinstance(value, list) else set()
    return len(kinds) == 1 and kinds <= {str, int, bool}


def _is_ascending(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) > 1
        and all((_is_integer(one) or isinstance(one, float)) and 0 <= one <= sys.float_info.max for one in value)
        and sorted(value) == value
    )


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


_OF_EARLIER_RELEASES = {"measure": "distance", "chosen_by_": None, "difficulty_quantiles_": None, "checksum": None}
"""Fields that their files lack."""
_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "version": (_is_a(str), "a string"),
    "n_clusters": (_or_null(_is_count), "a positive integer or null"),
    "cluster_range": (
        _or_null(lambda value: isinstance(value, list) and len(value) == 2 and all(map(_is_count, value))),
        "two positive integers or null",
    ),
    "normalize": (lambda value: value in NORMALIZATIONS, f"one of {list(NORMALIZATIONS)}"),
    "measure": (lambda value: value in tuple(MEASURES), f"one of {list(MEASURES)}"),
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
    "chosen_by_": (_or_null(_is_a(str)), "a string or null"),
    "centroid_labels_": (_or_null(_is_labels), "a list of strings, integers or booleans, or null"),
    "trained_on": (
        _or_null(lambda value: isinstance(value, dict) and _is_shallow(value)),
        f"an object that nests at most {_DEEPEST} deep, or null",
    ),
    "checksum": (_or_null(_is_a(str)), "a string or null"),
    "difficulty_quantiles_": (_or_null(_is_ascending), "a list of two or more ascending numbers, 0 or more, or null"),
}
