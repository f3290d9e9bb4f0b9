"""Embed a dataset: rows through an encoder, vectors into a column, shard by shard."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from datasets import Dataset, DatasetDict

from hf_curriculum.data import (
    EMBEDDING,
    append_dataset,
    as_dataset,
    fit_split,
    rejoined,
    require_own,
    splits_of,
    suggesting,
)
from hf_curriculum.embedding.column import ColumnJob, Work
from hf_curriculum.embedding.forward import Forward
from hf_curriculum.encoders import Options, evaluated, load_encoder

AnyDataset = TypeVar("AnyDataset", Dataset, DatasetDict)


@suggesting
def add_embeddings(
    dataset: AnyDataset,
    model_id: str | Callable[..., Any],
    *,
    input_column: str | None = None,
    modality: str | None = None,
    layer: int | str | None = None,
    pooling: str = "auto",
    batch_size: int = 64,
    dtype: str = "auto",
    num_workers: int | None = None,
    output_column: str = EMBEDDING,
    on_error: str = "raise",
    long_inputs: str = "truncate",
    max_seconds: float = 30.0,
    transform: Callable[[Any], torch.Tensor] | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    shard_size: int | None = None,
    cache_dir: str | None = None,
) -> AnyDataset:
    """Embed each row with a pretrained encoder and store the vectors as a column.

    Work goes shard by shard into the cache of ``datasets``, under a key of the data, the weights and the options: a
    second call finds it there, an interrupted call goes on after its last shard. Under ``accelerate launch`` the
    processes divide the shards, and each returns the whole dataset.

    Args:
        dataset: A ``Dataset``; a ``DatasetDict``, of which each split is embedded; or a map-style torch dataset of
            dictionaries or tuples, which becomes a ``Dataset``.
        model_id: Hub id or local directory of an image, audio, video or text encoder; a built-in descriptor
            (``"builtin/hog"``, ``"builtin/logmel"``, ``"builtin/tfidf"``); a ``torch.nn.Module``, a
            ``SentenceTransformer`` or a callable that turns a list of rows into an array of shape ``(n, dim)``.
        input_column: Column to embed; default the only one of the model's modality.
        modality: ``"image"``, ``"audio"``, ``"video"`` or ``"text"``; default what the model takes.
        layer: Index into the model's hidden states, or the name of a module; default the last hidden states.
        pooling: ``"cls"``, ``"mean"``, ``"max"`` or ``"last"`` over the positions that are not padding; ``"auto"``
            (default) is what the model's authors use.
        batch_size: Inputs of a forward pass at the most; halved where memory does not suffice. Default 64.
        dtype: Precision of the forward pass: ``"float32"``, ``"bfloat16"`` or ``"float16"``; ``"auto"`` (default) is
            float32 on the CPU, 16 bits elsewhere.
        num_workers: Processes that decode and tokenise ahead of the device; default up to 8 beside an accelerator or
            for a built-in descriptor, none (0) beside a model on the CPU.
        output_column: Name of the new column. Default ``"embedding"``.
        on_error: ``"raise"`` (default) stops at a row that cannot be embedded and names it; ``"null"`` leaves it
            without an embedding.
        long_inputs: Of texts and audio: ``"truncate"`` (default) cuts what is longer than the model takes and says how
            many rows that are; ``"mean"`` averages over windows, by their length.
        max_seconds: Longest piece of audio that runs at once. Default 30.
        transform: For a ``torch.nn.Module``: turns a row (undecoded where it is media) into a tensor, on the workers.
        revision: Branch, tag or commit of a Hub model.
        trust_remote_code: Run code from the model's repository. Default ``False``.
        shard_size: Rows of a shard: what a crash can lose, and what a process takes at a time. Default 2,048, and
            a 256th of the rows from half a million on.
        cache_dir: Folder of the shards; default the cache of ``datasets``.

    Returns:
        The dataset, rows in the same order, with the new column: a list of ``dim`` float32.

    Raises:
        TypeError: For a streaming dataset.
        ValueError: For an empty dataset, an unknown model, column or option, several columns that fit, a column
            ``output_column`` that this library did not write, or, with ``on_error="raise"``, a row that cannot be
            embedded.
        OSError: If the disk is full.
        RuntimeError: If a worker or another process fails. What is finished is kept in each case.

    Example:
        >>> from datasets import Dataset
        >>> dataset = Dataset.from_dict({"text": ["a red cat", "a blue cat", "a green bird"]})
        >>> add_embeddings(dataset, "builtin/tfidf").features["embedding"].length
        3
    """
    options = Options(
        modality=modality,
        layer=layer,
        pooling=pooling,
        long_inputs=long_inputs,
        max_seconds=max_seconds,
        transform=transform,
        revision=revision,
        trust_remote_code=trust_remote_code,
    )
    work = Work(
        batch_size=batch_size, shard_size=shard_size, num_workers=num_workers, on_error=on_error, cache_dir=cache_dir
    )
    dataset = as_dataset(dataset)
    splits = splits_of(dataset)
    for split in splits.values():
        require_own(split, [output_column], ", or pass another output_column")
    encoder, column = load_encoder(model_id, splits[fit_split(splits)], options, input_column)
    with evaluated(encoder.model):
        forward = Forward(encoder, dtype)
        vectors = {name: ColumnJob(split, column, forward, work).run() for name, split in splits.items()}
    embedded = {
        name: append_dataset(split, vectors[name].rename_columns({EMBEDDING: output_column}))
        for name, split in splits.items()
    }
    return rejoined(embedded, dataset)
