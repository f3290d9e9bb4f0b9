"""What a provenance record may hold: the fields we write, each of its type. Anybody can edit a record by hand."""

import math
import re
import reprlib
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

_LONGEST = 100_000  # letters of a text
_LONGEST_PATH, _LONGEST_PART = 4_096, 255
_ROOT = r"(?:file:/|~?/|~[\w.-]+/|\$\w+/|%\w+%[\\/]|[A-Za-z]:[\\/]|\\\\(?:[?.]\\)?|\.{1,2}[\\/])"
_QUOTED = re.compile(rf"""(['"])({_ROOT}(?:(?!\1).)*)""", re.IGNORECASE)
_BEFORE, _NAME = r"""(?<![\w/.\\'"-])""", r"""[^\\/\s'"<>|:;,)\]]+"""
_BARE = re.compile(rf"""{_BEFORE}(?<!:(?=//)){_ROOT}(?:[^\s'"<>|?*]*[\\/])?(?=[^\s'"\\/])""", re.IGNORECASE)
_HOME = re.compile(
    rf"{_BEFORE}(?:file:/*)?(?:/home|/Users|[A-Z]:[\\/]+Users)[\\/]+{_NAME}[\\/]*(?![^\s'\"<>|:;,)\]])", re.IGNORECASE
)
_URL = re.compile(r"""://[^\s'"]+""")
Field = Callable[[Any], bool]


def encoder_fields(record: object) -> dict[str, Any]:
    """The record of an embedding column without what is not as we write it; empty for another tool's."""
    return _kept(record, _ENCODER)


def score_fields(record: object) -> dict[str, Any]:
    """The same for a difficulty column."""
    kept = _kept(record, _SCORES)
    if "embedding" in kept:
        kept["embedding"] = encoder_fields(kept["embedding"])
    if "davies_bouldin_curve" in kept:
        tried = kept["davies_bouldin_curve"].items()
        kept["davies_bouldin_curve"] = {k: index for k, index in tried if _is_candidate(k) and _INDEX(index)}
    return kept


def require_name(name: str, what: str) -> None:
    """Raise unless ``name`` can be that of a file, a folder or a repository.

    Args:
        name: The name that was given.
        what: What it was given as, the subject of the error.

    Raises:
        ValueError: If it is empty, or longer than any path.
    """
    if not name:
        raise ValueError(f"{what} is empty; name a folder or a repository such as 'me/name'.")
    if len(name) > _LONGEST_PATH or max(map(len, re.split(r"[\\/]", name))) > _LONGEST_PART:
        raise ValueError(
            f"{what} has {len(name):,} characters, more than the name of a folder or a repository can have: "
            f"{reprlib.repr(name)}."
        )


def without_folders(text: str) -> str:
    """A text whose paths are cut to the names of their files: the folders before them tell who wrote it.

    URLs lose what lets their reader in: a user with a password, and the query, where signatures stand.
    """
    text = _URL.sub(_without_secrets, text)
    text = _QUOTED.sub(lambda found: found[1] + _last(found[2]), text)
    return _BARE.sub("", _HOME.sub("~", text))


def _without_secrets(url: re.Match[str]) -> str:
    return "".join(map(_public, re.split("(://|::)", url[0])))  # URLs may be chained


def _public(part: str) -> str:
    host, slash, path = part.partition("/")
    return re.split("[?#]", host.rpartition("@")[2] + slash + path)[0]


def _last(path: str) -> str:
    """The name of a file, or of a folder that is not somebody's home."""
    whole = path.rstrip("\\/")
    return "~" if _HOME.fullmatch(path) else path[1 + max(whole.rfind("/"), whole.rfind("\\")) :]


def path_name(path: str) -> str:
    """The last part of a path of any system."""
    return PureWindowsPath(path).name or PurePosixPath(path).name


def _kept(record: object, fields: Mapping[str, Field]) -> dict[str, Any]:
    """The known fields of the right type; of the unknown ones, of later versions, those that are plain."""
    if not isinstance(record, Mapping):
        return {}
    kept = {name: value for name, value in record.items() if _is_text(name) and fields.get(name, _is_plain)(value)}
    if isinstance(model := kept.get("model_id"), str):
        is_path = re.match(_ROOT, model.strip(), re.IGNORECASE)
        kept["model_id"] = path_name(model.strip()) if is_path else _URL.sub(_without_secrets, model)
    return kept


def _is_text(value: Any) -> bool:
    """A text that can be written: half of a surrogate pair cannot."""
    return isinstance(value, str) and len(value) <= _LONGEST and not re.search("[\ud800-\udfff]", value)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**64


def _is_size(value: Any) -> bool:
    return _is_integer(value) and value >= 0


def _is_count(value: Any) -> bool:
    return _is_integer(value) and value > 0


def _is_index(value: Any) -> bool:
    """A Davies-Bouldin index; infinity, which JSON lacks, is ``"inf"``."""
    return value == "inf" or _is_size(value) or isinstance(value, float) and 0 <= value < math.inf


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_plain(value: Any) -> bool:
    return _is_scalar(value) or isinstance(value, list) and all(map(_is_scalar, value))


def _is_scalar(value: Any) -> bool:
    is_number = _is_integer(value) or isinstance(value, float) and math.isfinite(value)
    return value is None or isinstance(value, bool) or is_number or _is_text(value)


def _is_candidate(key: Any) -> bool:
    return isinstance(key, str) and re.fullmatch("[1-9][0-9]{0,17}", key) is not None


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_options(value: Any) -> bool:
    if not isinstance(value, dict) or not value.keys() <= {"n_clusters", "cluster_range"}:
        return False
    span = value.get("cluster_range")
    is_span = span is None or isinstance(span, list | tuple) and len(span) == 2 and all(map(_is_count, span))
    return is_span and _or_null(_is_count)(value.get("n_clusters"))


def _is_ascending(value: Any) -> bool:
    numbers = isinstance(value, list) and all(_is_index(one) and one != "inf" for one in value)
    return numbers and len(value) > 1 and sorted(value) == value


def _or_null(is_right: Field) -> Field:
    return lambda value: value is None or is_right(value)


_TEXT, _INDEX = _or_null(_is_text), _or_null(_is_index)
_ENCODER: dict[str, Field] = {
    "model_id": _TEXT,
    "local": _is_bool,
    "weights": _TEXT,
    "revision": _TEXT,
    "pooling": _TEXT,
    "layer": lambda value: _TEXT(value) or _is_integer(value),
    "normalize": _is_bool,
    "input_column": _TEXT,
    "dtype": _TEXT,
    "version": _TEXT,
}
_SCORES: dict[str, Field] = {
    "embedding": _is_object,
    "measure": _TEXT,
    "n_clusters": _is_count,
    "chosen_by": _TEXT,
    "options": _is_options,
    "outliers": _is_size,
    "doubtful_labels": _is_size,
    "duplicates": _TEXT,
    "copies": _is_size,
    "davies_bouldin": _INDEX,
    "davies_bouldin_curve": _is_object,
    "label_column": _TEXT,
    "normalize": lambda value: value is None or value in ("minmax", "rank"),
    "standardize": _is_bool,
    "l2_normalize": _is_bool,
    "seed": _is_integer,
    "repeats": _is_count,
    "clusterer": _TEXT,
    "version": _TEXT,
    "quantiles": _or_null(_is_ascending),
}
