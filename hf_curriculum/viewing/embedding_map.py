"""A map of the embeddings in two dimensions."""

import logging
from typing import Any

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from hf_curriculum.data import read_embeddings
from hf_curriculum.scoring import Points, fit_space

logger = logging.getLogger(__name__)

_COMPONENTS = 50  # that t-SNE gets of the embeddings, as scikit-learn advises
_PERPLEXITY = 30  # neighbours that count, the usual number
_FEW = 10  # rows of which two components are shown instead


def map_of(
    dataset: Dataset, column: str, record: dict[str, Any], size: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Embeddings in two dimensions: t-SNE of a sample of the rows, in the space in which they were clustered.

    Args:
        dataset: Has the embeddings.
        column: Their column.
        record: Of the scores, see :func:`hf_curriculum.provenance`: tells the space.
        size: Rows at the most.

    Returns:
        Row numbers, ascending, int64, shape ``(n,)``; coordinates, float32, shape ``(n, 2)``.

    Raises:
        ValueError: If the column is missing or does not hold embeddings.

    Source:
        van der Maaten and Hinton, "Visualizing Data using t-SNE", JMLR 2008.
    """
    blocks, has_embedding = read_embeddings(dataset, column)
    points = Points.of(blocks).sample(size, seed=0)
    space = fit_space(points, record.get("standardize", True), record.get("l2_normalize", True))
    logger.info("Drawing the map of %d rows: t-SNE takes up to a minute.", len(points))
    vectors = points.inside(space).all().cpu().numpy()
    return np.flatnonzero(has_embedding)[points.rows], _flattened(vectors)


def _flattened(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    rows, dim = vectors.shape
    if (vectors == vectors[0]).all():
        return np.zeros((rows, 2), np.float32)
    flat = PCA(min(_COMPONENTS, rows, dim), random_state=0).fit_transform(vectors)
    if rows < _FEW:  # t-SNE has no neighbourhoods to keep
        return np.pad(flat, ((0, 0), (0, 2)))[:, :2]
    start, perplexity = "pca" if flat.shape[1] > 1 else "random", min(_PERPLEXITY, (rows - 1) / 3)
    with threadpool_limits(1):  # where others compute, its threads wait for each other, ten times as long as one needs
        return TSNE(2, init=start, perplexity=perplexity, random_state=0).fit_transform(flat)
