"""Embed a dataset: rows through an encoder on the device, vectors into a column."""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
from accelerate import PartialState
from datasets import Audio, Dataset, DatasetDict, Features, Image

from hf_curriculum import __version__
from hf_curriculum.columns import EMBEDDING, append_dataset, embedding_feature, fit_split, require_finite, splits_of
from hf_curriculum.encoders import resolve
from hf_curriculum.encoders.base import Encoder

AnyDataset = TypeVar("AnyDataset", Dataset, DatasetDict)

_ROWS_A_CALL = 1024  # enough rows to sort by length, few enough to hold their decoded images


def add_embeddings(
    dataset: AnyDataset,
    model_id: str | Callable[..., Any],
    *,
    input_column: str | None = None,
    modality: str | None = None,
    pooling: str = "auto",
    batch_size: int = 64,
    output_column: str = EMBEDDING,
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> AnyDataset:
    """Embed each row with a pretrained encoder and store the vectors as a column.

    The column is cached by ``datasets.map``, under a fingerprint of the data, the weights and the options.

    Args:
        dataset: A ``Dataset``, or a ``DatasetDict``, of which each split is embedded.
        model_id: Hub id or local directory of an image, audio or text encoder; a built-in descriptor
            (``"builtin/hog"``, ``"builtin/logmel"``, ``"builtin/tfidf"``); a ``torch.nn.Module``, a
            ``SentenceTransformer`` or a callable that turns a list of rows into an array of shape ``(n, dim)``.
        input_column: Column to embed; default the only one of the model's modality.
        modality: ``"image"``, ``"audio"`` or ``"text"``; default what the model takes.
        pooling: ``"cls"``, ``"mean"``, ``"max"`` or ``"last"`` over the last hidden states; ``"auto"`` (default) is
            ``"cls"`` for images, ``"mean"`` for audio and text.
        batch_size: Rows a forward pass takes at the most. Default 64.
        output_column: Name of the new column. Default ``"embedding"``.
        revision: Branch, tag or commit of a Hub model.
        trust_remote_code: Run code from the model's repository. Default ``False``.

    Returns:
        The dataset, rows in the same order, with the new column: a list of ``dim`` float32.

    Raises:
        TypeError: For a streaming dataset.
        ValueError: For an empty dataset, an unknown model or column, several columns that fit, or a model that
            returns a NaN.

    Example:
        >>> from datasets import Dataset
        >>> dataset = Dataset.from_dict({"text": ["a red cat", "a blue cat", "a green bird"]})
        >>> add_embeddings(dataset, "builtin/tfidf").features["embedding"].length
        3
    """
    options: dict[str, Any] = {
        "input_column": input_column,
        "modality": modality,
        "pooling": pooling,
        "revision": revision,
        "trust_remote_code": trust_remote_code,
    }
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
    splits = {name: split.with_format(None) for name, split in splits_of(dataset).items()}
    encoder, column = resolve(model_id, splits[fit_split(splits)], **options)
    encoder.to(PartialState().device)
    embedded = {name: _embed(split, encoder, column, batch_size, output_column) for name, split in splits.items()}
    return DatasetDict(embedded) if isinstance(dataset, DatasetDict) else embedded["train"]


def _embed(dataset: Dataset, encoder: Encoder, column: str, batch_size: int, output_column: str) -> Dataset:
    inputs = dataset.select_columns([column])
    feature = inputs.features[column]
    if isinstance(feature, Audio):
        inputs = inputs.cast_column(column, Audio(decode=False))
    elif isinstance(feature, Image):
        inputs = inputs.cast_column(column, Image(mode=feature.mode))
    dim = encoder(inputs[:1][column], batch_size).shape[1]
    record = {**encoder.record, "input_column": column, "version": __version__}
    embedded = inputs.map(
        _embed_rows,
        batched=True,
        batch_size=max(_ROWS_A_CALL, batch_size),
        with_indices=True,
        remove_columns=[column],
        features=Features({output_column: embedding_feature(dim, record)}),
        fn_kwargs={"encoder": encoder, "column": column, "batch_size": batch_size, "output_column": output_column},
        desc=f"Embedding {column}",
    )
    return append_dataset(dataset, embedded)


@torch.inference_mode()
def _embed_rows(
    rows: dict[str, list[Any]],
    indices: list[int],
    encoder: Encoder,
    column: str,
    batch_size: int,
    output_column: str,
) -> dict[str, np.ndarray]:
    vectors = encoder(rows[column], batch_size)
    require_finite(vectors, f"The embedding by {encoder.record['model_id']} (rows counted from {indices[0]})")
    return {output_column: vectors}
