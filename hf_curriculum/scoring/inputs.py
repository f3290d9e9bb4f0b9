"""What a user hands to a scorer: a matrix of embeddings, a class for each row."""

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from hf_curriculum.data import require_finite
from hf_curriculum.scoring.points import Points


def as_points(embeddings: ArrayLike | Points) -> Points:
    """The rows of a matrix.

    Args:
        embeddings: Finite numbers, shape ``(N, dim)``, of any type; or points, which stay as they are.

    Returns:
        The points, in no space.

    Raises:
        TypeError: For a dataset.
        ValueError: For anything else that is no finite matrix with rows.
    """
    if isinstance(embeddings, Points):
        return embeddings
    if isinstance(embeddings, torch.Tensor) and embeddings.dtype == torch.bfloat16:  # numpy has no such type
        embeddings = embeddings.float()
    if hasattr(embeddings, "column_names"):
        raise TypeError('embeddings must be a matrix, got a dataset: pass its column, dataset["embedding"][:].')
    try:
        matrix = np.asarray(embeddings)
        matrix = matrix.astype(np.float32) if matrix.dtype.kind in "OUS" else matrix
    except (ValueError, TypeError) as error:
        raise ValueError(f"embeddings must be a matrix of numbers, shape (N, dim): {error}.") from error
    if matrix.dtype not in (np.float16, np.float32, np.float64):
        matrix = matrix.astype(np.float32)
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise ValueError(f"embeddings must be a matrix of shape (N, dim) with rows, got shape {matrix.shape}.")
    require_finite(matrix, "embeddings")
    return Points.of([matrix])


def as_labels(labels: ArrayLike, n: int) -> NDArray[Any]:
    """The class of each row.

    Args:
        labels: Classes.
        n: Number of rows.

    Returns:
        Shape ``(n,)``.

    Raises:
        ValueError: If they are not one a row, or one is missing.
    """
    array = np.asarray(labels)
    if array.shape != (n,):
        raise ValueError(f"labels must be one a row, shape ({n},), got shape {array.shape}.")
    missing = np.flatnonzero([label is None for label in array] if array.dtype == object else array != array)
    if missing.size:
        raise ValueError(f"The label of row {missing[0]} is missing ({missing.size} such rows): leave these rows out.")
    return array


def require_seen(labels: NDArray[Any], fitted: NDArray[Any]) -> None:
    """Raise a ``ValueError`` unless each of ``labels`` is among those that prototypes are fitted on.

    Args:
        labels: Classes of rows, any shape.
        fitted: Classes of prototypes, any shape.

    Raises:
        ValueError: If one is not; up to five are named.
    """
    unseen = sorted(set(np.unique(labels).tolist()) - set(np.unique(fitted).tolist()))
    if unseen:
        raise ValueError(f"Labels {unseen[:5]} were not among those that the scorer was fitted on.")


def require_classes(labels: NDArray[Any] | None) -> None:
    """Raise a ``ValueError`` unless there are labels, of two or more classes.

    Raises:
        ValueError: If there are not.
    """
    if labels is None:
        raise ValueError('measure="margin" compares the classes of rows: pass labels (label_column="label").')
    if len(found := np.unique(labels)) < 2:
        raise ValueError(
            f'measure="margin" compares classes, but all {labels.size} rows are of class {found.tolist()[0]!r}. '
            'Use measure="distance".'
        )
