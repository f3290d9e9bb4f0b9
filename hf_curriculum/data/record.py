"""Provenance: where the numbers of a column came from; it travels in the feature of the column."""

import json
from collections.abc import Collection, Mapping
from typing import Any

from datasets import (
    Dataset,
    List,
    Value,
)

from hf_curriculum.data.columns import CLUSTER, DIFFICULTY, DISTANCE, SUGGESTED_LABEL, require_column
from hf_curriculum.data.fields import encoder_fields, score_fields


def embedding_feature(dim: int, record: Mapping[str, Any]) -> List:
    """Feature of an embedding column: fixed-size list of float32, whose items carry the provenance.

    Args:
        dim: Length of an embedding.
        record: The provenance; JSON.

    Returns:
        The feature.
    """
    return List(Value("float32", id=_dump(record)), length=dim)


def score_features(record: Mapping[str, Any]) -> dict[str, Value]:
    """Features of the cluster, distance and difficulty columns; difficulty carries the provenance."""
    return {
        CLUSTER: Value("int32"),
        DISTANCE: Value("float32"),
        DIFFICULTY: Value("float32", id=_dump(record)),
    }


def provenance(dataset: Dataset, column: str = DIFFICULTY) -> dict[str, Any]:
    """Where the numbers of a column came from: model, pooling, K, index, normalisation, seed, version.

    The record lives in the column's feature (its ``id``), so that it follows the column through ``map``, ``select``,
    ``concatenate_datasets``, ``save_to_disk``, Parquet and ``push_to_hub``.

    Args:
        dataset: A scored or embedded dataset.
        column: ``"difficulty"`` (default) or ``"embedding"``.

    Returns:
        The record; empty for a column that this library did not write. A field that is not of the type that this
        library writes, since somebody edited it, is left out.

    Raises:
        ValueError: If the column is missing.

    Example:
        >>> from datasets import Dataset
        >>> provenance(Dataset.from_dict({"difficulty": [0.1]}))
        {}
    """
    require_column(dataset, column)
    feature = dataset.features[column]
    item, fields = (feature.feature, encoder_fields) if isinstance(feature, List) else (feature, score_fields)
    text = getattr(item, "id", None)
    try:
        return fields(json.loads(text) if isinstance(text, str) else {})
    except (ValueError, RecursionError):  # another tool's id
        return {}


def require_own(dataset: Dataset, columns: Collection[str], remedy: str = "") -> None:
    """Raise unless each of ``columns`` is missing, or was written by this library and so may be replaced.

    Cluster, distance and suggested label carry no record: a difficulty column of ours, whatever its name, vouches for
    them.

    Args:
        dataset: Has these columns, or has not.
        columns: What is about to be written.
        remedy: A further way out, for the message.

    Raises:
        TypeError: If a name is none.
        ValueError: If a column of somebody else would be lost.
    """
    scored = any(provenance(dataset, name).keys() >= {"normalize", "n_clusters"} for name in dataset.column_names)
    for name in columns:
        if not (isinstance(name, str) and name):
            raise TypeError(f"The new column needs a name, got {name!r}.")
        if (
            name not in dataset.column_names
            or provenance(dataset, name)
            or scored
            and name in (CLUSTER, DISTANCE, SUGGESTED_LABEL)
        ):
            continue
        raise ValueError(
            f"Column {name!r} is in the dataset already, is not known to come from hf_curriculum, and would be "
            f"overwritten. Keep it under another name with dataset.rename_column({name!r}, 'own_{name}'), or drop it "
            f"with dataset.remove_columns({name!r}){remedy}."
        )


def part(record: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A part of a provenance record, such as ``"embedding"``; empty where another tool wrote anything else there.

    Args:
        record: From :func:`provenance`.
        name: Of the part.

    Returns:
        The part.
    """
    value = record.get(name)
    return value if isinstance(value, dict) else {}


def _dump(record: Mapping[str, Any]) -> str:
    return json.dumps(record, sort_keys=True)
