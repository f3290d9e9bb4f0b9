"""Embedder: from a batch of columns to its vectors, for ``Dataset.map``, streams and Ray."""

import logging
import multiprocessing
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import multiprocess  # whose processes num_proc starts
import pyarrow as pa
import torch
from datasets import Dataset, Features, IterableDataset
from datasets.fingerprint import generate_random_fingerprint

from hf_curriculum._version import __version__
from hf_curriculum.data import EMBEDDING, suggesting, undecoded
from hf_curriculum.embedding.batches import MapBatch
from hf_curriculum.embedding.column import Work
from hf_curriculum.embedding.forward import Forward, arithmetic, require_dtype
from hf_curriculum.embedding.rows import RowEmbedder, prepare_rows, window_rows
from hf_curriculum.encoders import Encoder, Model, Options, digest, find_column, find_model
from hf_curriculum.processes import this_process

logger = logging.getLogger(__name__)

_UNKNOWN = "unknown-"


@suggesting
class Embedder:
    """Rows to vectors, as a function of a batch: ``dataset.map(Embedder(model_id), batched=True)``.

    The same call takes a ``Dataset`` and an ``IterableDataset``, decoded or not; media columns are not encoded again.
    It pickles (``num_proc``, spawned processes, Ray) without the weights of a Hub model, which are loaded where it
    runs, and hashes by what it computes, so that the cache of ``map`` finds the same computation and no other. For a
    whole dataset on one machine :func:`hf_curriculum.add_embeddings` is faster (rows are read ahead) and survives a
    kill.

    Args:
        model_id: What embeds, see :func:`hf_curriculum.add_embeddings`; ``"builtin/tfidf"``, which has to learn from a
            whole dataset, is refused.
        input_column: Column to embed; default the only one of the model's modality.
        output_column: Name of the new column. Default ``"embedding"``.
        on_error: ``"raise"`` (default) stops at a row that cannot be embedded; ``"null"`` leaves it without a vector.
        batch_size: Inputs of a forward pass at the most. Default 64. Text is sorted by length inside the batch that
            ``map`` hands over, so let that be larger: its default is 1,000.
        dtype: As the following, see :func:`hf_curriculum.add_embeddings`.
        modality: What the column holds.
        layer: Layer whose hidden states are pooled.
        pooling: How they are pooled.
        long_inputs: What happens to long texts and sounds.
        max_seconds: Longest piece of audio that runs at once.
        transform: From a row to a tensor, for a ``torch.nn.Module``.
        revision: Of a Hub model.
        trust_remote_code: Run code from the model's repository.

    Raises:
        ValueError: If the model is unknown, or an option is not one of its choices. When it is called: if no column or
            several columns fit, or a row cannot be embedded.
        RuntimeError: When it is called: if several processes would share one accelerator.

    Example:
        >>> from datasets import Dataset
        >>> letters = Dataset.from_dict({"text": ["a", "abc"]})
        >>> letters.map(Embedder(lambda texts: [[len(text)] for text in texts]), batched=True)["embedding"][:]
        [[1.0], [3.0]]
    """

    def __init__(
        self,
        model_id: str | Callable[..., Any],
        *,
        input_column: str | None = None,
        output_column: str = EMBEDDING,
        on_error: str = "raise",
        batch_size: int = 64,
        dtype: str = "auto",
        modality: str | None = None,
        layer: int | str | None = None,
        pooling: str = "auto",
        long_inputs: str = "truncate",
        max_seconds: float = 30.0,
        transform: Callable[[Any], torch.Tensor] | None = None,
        revision: str | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        require_dtype(dtype)
        self.model_id = os.fspath(model_id) if isinstance(model_id, os.PathLike) else model_id
        self.input_column = input_column
        self.output_column = output_column
        self.dtype = dtype
        self._work = Work(batch_size=batch_size, on_error=on_error)
        self._options = Options(
            modality=modality,
            layer=layer,
            pooling=pooling,
            long_inputs=long_inputs,
            max_seconds=max_seconds,
            transform=transform,
            revision=revision,
            trust_remote_code=trust_remote_code,
        )
        self._identities: dict[str | None, str] = {}
        self._start()
        if self._model.learns:
            raise ValueError(
                f"{model_id} learns its words from a whole dataset, which a function of a batch does not see. Use "
                f"add_embeddings(dataset, {model_id!r}), or choose a text encoder."
            )

    def _start(self) -> None:
        """What each process makes for itself."""
        self._model: Model = find_model(self.model_id, self._options)
        self._encoders: dict[str | None, Encoder] = {}
        self._embedders: dict[tuple[Any, ...], RowEmbedder] = {}
        self._told = False

    def __getstate__(self) -> dict[str, Any]:
        if isinstance(self.model_id, str):  # the weights stay here; what they are goes along
            for modality in self._modalities:
                self._encoder(modality)
        else:
            self._identities[None] = self._identity(self._encoder(None))
        made = {"_model", "_encoders", "_embedders", "_told"}
        return {name: value for name, value in vars(self).items() if name not in made} | {
            "decisive": (__version__, arithmetic(self.dtype, this_process().device))
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update({name: value for name, value in state.items() if name != "decisive"})
        self._start()

    def __call__(self, batch: Any, *where: Any) -> Any:
        """Vectors of a batch, or of one row.

        Args:
            batch: Columns by name, as ``map`` hands them over: a dictionary of lists, or of the values of one row
                (without ``batched=True``); also an Arrow table or a pandas ``DataFrame``.
            *where: Row numbers (``with_indices=True``), which errors then name, and rank (``with_rank=True``), which
                chooses the accelerator.

        Returns:
            ``{"embedding": vectors}``, float32, ``dim`` numbers a row or ``None``; a table comes back with the column.

        Raises:
            ValueError: If no column or several columns fit, or with ``on_error="raise"`` a row cannot be embedded.
            RuntimeError: If the model fails, or several processes would share one accelerator.
        """
        given = MapBatch(batch, self._modalities)
        if not len(given):
            return given.with_column(self.output_column, pa.array([], pa.list_(pa.float32())))
        numbers, rank = _numbers_and_rank(where, given.single)
        column, kind = self._find(given.features)
        embedder = self._embedder(column, kind, rank)
        rows = prepare_rows(embedder.forward.encoder, given.values(column), self._work.batch_size)
        vectors = embedder.embed(rows, numbers)
        if embedder.truncated and not self._told:
            self._told = True
            logger.warning("Some rows are longer than the model takes and were cut: long_inputs='mean' takes all.")
        return given.with_column(self.output_column, vectors)

    def features(self, dataset: Dataset | IterableDataset) -> Features:
        """Features of ``dataset.map(embedder)`` for its ``features=``: the new column then carries its provenance.

        Args:
            dataset: What will be mapped. Its first rows are embedded, up to one that can be, to learn the length of a
                vector.

        Returns:
            The features there are, and that of the new column, a list of ``dim`` float32.

        Raises:
            ValueError: If the dataset does not know its features, no column or several columns fit, or no row can be
                embedded.
        """
        if dataset.features is None:
            raise ValueError("This stream does not know its features: cast it, stream.cast(features), or map without.")
        column, kind = self._find(dataset.features)
        embedder = self._embedder(column, kind, None)
        rows: Any = dataset.select_columns([column])
        rows = undecoded(rows.with_format(None), column) if isinstance(dataset, Dataset) else rows
        for number, row in enumerate(rows):
            embedder.embed(prepare_rows(embedder.forward.encoder, [row[column]], 1), [number])
            if embedder.dim is not None:
                return Features({**dataset.features, self.output_column: embedder.feature})
        raise ValueError(f"No row of column {column!r} can be embedded.")

    def column(self, features: Mapping[str, Any]) -> str:
        """The column that it embeds, of a dataset of these features.

        Args:
            features: Feature types by column.

        Returns:
            Its name.

        Raises:
            ValueError: If no column or several columns fit.
        """
        return self._find(features)[0]

    def window(self, features: Mapping[str, Any]) -> int:
        """Rows that a batch best has, so that texts of one length find each other; :func:`add_embeddings` takes them.

        Args:
            features: Feature types by column.

        Returns:
            Their number.

        Raises:
            ValueError: If no column or several columns fit.
        """
        column, kind = self._find(features)
        return window_rows(self._embedder(column, kind, None).forward.encoder, self._work.batch_size)

    @property
    def _modalities(self) -> tuple[str, ...]:
        asked = self._options.modality
        return (asked,) if asked else self._model.modalities

    def _find(self, features: Mapping[str, Any]) -> tuple[str, str | None]:
        return find_column(features, self._model, self.input_column, self._options.modality)

    def _embedder(self, column: str, kind: str | None, rank: int | None) -> RowEmbedder:
        modality = self._options.modality or kind
        key = column, modality, rank
        if key not in self._embedders:
            device = _device(rank)
            self._embedders[key] = RowEmbedder(
                Forward(self._encoder(modality), self.dtype, device), column, self._work.on_error
            )
        return self._embedders[key]

    def _encoder(self, modality: str | None) -> Encoder:
        if modality not in self._encoders:
            encoder = self._model.load(modality)
            if isinstance(self.model_id, str):
                identity = self._identity(encoder)
                known = self._identities.setdefault(modality, identity)
                if known != identity and not known.startswith(_UNKNOWN):
                    raise RuntimeError(
                        f"{self.model_id} is no longer what it was when this Embedder was made: make a new one."
                    )
            self._encoders[modality] = encoder
        return self._encoders[modality]

    def _identity(self, encoder: Encoder) -> str:
        try:
            return digest(encoder.identity())
        except Exception as error:
            logger.warning("The vectors are not kept for later calls, since the model cannot be hashed: %s.", error)
            return f"{_UNKNOWN}{generate_random_fingerprint()}"


def _device(rank: int | None) -> torch.device:
    """Where a process computes: the accelerator of its rank, or the device of its job.

    Raises:
        RuntimeError: If several processes would share one accelerator.
    """
    device = this_process().device
    if not (multiprocess.parent_process() or multiprocessing.parent_process()):
        return device if rank is None or device.type == "cpu" else _of_rank(device, rank)
    if device.type == "cpu":
        torch.set_num_threads(1)  # the processes are the parallelism; and threads do not survive a fork
        return device
    if rank is None:
        raise RuntimeError(
            f"num_proc (or the workers of a loader) would start processes that share {device}, each with its own copy "
            "of the model. Leave num_proc out; with several GPUs call multiprocess.set_start_method('spawn') and map "
            "with with_rank=True and num_proc=torch.cuda.device_count(); or use add_embeddings, which reads ahead."
        )
    return _of_rank(device, rank)


def _of_rank(device: torch.device, rank: int) -> torch.device:
    return torch.device(device.type, rank % getattr(torch, device.type).device_count())


def _numbers_and_rank(where: Sequence[Any], single: bool) -> tuple[Sequence[int] | None, int | None]:
    if single:
        return [where[0]] if where else None, where[1] if len(where) > 1 else None
    numbers = next((part for part in where if not isinstance(part, int)), None)
    return numbers, next((part for part in where if isinstance(part, int)), None)
