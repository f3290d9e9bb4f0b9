"""Features of a torch dataset for the reference code's API: rows are read by number, none is copied to disk."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from PIL import Image
from torch.utils.data import DataLoader

from hf_curriculum.data import EMBEDDING, read_embeddings
from hf_curriculum.embedding import ColumnJob, Forward, Work
from hf_curriculum.encoders import (
    Encoder,
    Options,
    Prepared,
    evaluated,
    load_encoder,
    module_of,
    outputs_of,
    single_batches,
)
from hf_curriculum.scoring import Points, fit_space


class FeatureExtractor(ABC):
    """What :class:`hf_curriculum.curriculum_learning.CurriculumLearning` takes its features from."""

    @abstractmethod
    def extract_features(self, data_loader: DataLoader[Any], device: torch.device | str) -> torch.Tensor:
        """Features of all rows, in the order of the dataset.

        Args:
            data_loader: Has the ``dataset`` of ``N`` rows.
            device: Where a model runs.

        Returns:
            float32, on the CPU, shape ``(N, dim)``.
        """


class PretrainedModelExtractor(FeatureExtractor):
    """Features that a pretrained model gives.

    Args:
        model: A module from a batch of inputs to a tensor of shape ``(batch, dim)``, of which further dimensions are
            averaged; or, beyond the reference, the Hub id or local directory of an encoder, which also takes rows of
            PIL images or text, and a ``SentenceTransformer`` for rows of text.
        feature_layer: Name of a module in ``model`` whose output to take instead; a Hub encoder pools it as
            :func:`hf_curriculum.add_embeddings` does.
        normalize_features: Bring each dimension to mean 0 and deviation 1, then each row to length 1. Default
            ``True``.
    """

    def __init__(
        self, model: torch.nn.Module | str, feature_layer: str | None = None, normalize_features: bool = True
    ) -> None:
        self.model = model
        self.feature_layer = feature_layer
        self.normalize_features = normalize_features

    def extract_features(self, data_loader: DataLoader[Any], device: torch.device | str) -> torch.Tensor:
        """Features of all rows, in the order of the dataset, also where the loader shuffles or drops rows.

        Args:
            data_loader: Gives the dataset, the batch size and the collation; rows are tensors or arrays, or tuples
                whose first part is the input.
            device: Where the model runs.

        Returns:
            float32, on the CPU, shape ``(N, dim)``.

        Raises:
            TypeError: If rows are dictionaries.
            ValueError: If there are no rows, no such layer or model, or a row cannot be read or has no finite vector.
            RuntimeError: If the model fails.
        """
        rows: Any = data_loader.dataset
        if len(rows) == 0:
            raise ValueError("The dataset has no rows. Did an earlier filter remove them all?")
        encoder = _encoder(self.model, self.feature_layer, data_loader)
        numbers = Dataset.from_dict({"input": np.arange(len(rows))})
        # Nothing is kept: a key would have to hash the dataset.
        with evaluated(encoder.model), TemporaryDirectory() as folder:
            forward = Forward(encoder, "float32", device)
            work = Work(batch_size=data_loader.batch_size or Work.batch_size, cache_dir=folder)
            blocks, _ = read_embeddings(ColumnJob(numbers, "input", forward, work).run(), EMBEDDING)
            points = Points.of(blocks)
            if self.normalize_features:
                points = points.inside(fit_space(points, standardize=True, unit=True))
            return points.all().cpu()


class _TensorRows:
    """Rows that are tensors, as the loader collates them."""

    modality: str | None = None
    ready = False
    window = 1

    def __init__(self, model: torch.nn.Module | None, embed: Callable[[Any], Any], loader: DataLoader[Any]) -> None:
        self.model = model
        self.embed = embed
        self.dataset: Any = loader.dataset
        self.collate = loader.collate_fn
        self.record: dict[str, Any] = {}

    def read(self, row: int) -> Any:
        return self.dataset[row]

    def prepare(self, samples: list[Any], batch_size: int) -> Prepared:
        return single_batches(samples, batch_size, lambda rows: _input_of(self.collate(rows)))

    def encode(self, inputs: Any) -> torch.Tensor:
        vectors = self.embed(inputs)
        if not isinstance(vectors, torch.Tensor) or vectors.ndim < 2:
            shape = f" of shape {tuple(vectors.shape)}" if isinstance(vectors, torch.Tensor) else ""
            raise ValueError(
                f"The model returned a {type(vectors).__name__}{shape}, not a tensor of shape (batch, dim). Wrap it "
                "in a module that does, or pass feature_layer."
            )
        return vectors.flatten(2).mean(2) if vectors.ndim > 2 else vectors

    def identity(self) -> Any:
        return None


class _MediaRows:
    """Rows that are images or texts, which an encoder prepares by itself."""

    modality: str | None = None

    def __init__(self, encoder: Encoder, dataset: Any) -> None:
        self.encoder = encoder
        self.dataset = dataset
        self.model = encoder.model
        self.ready, self.window = encoder.ready, encoder.window
        self.record: dict[str, Any] = {}
        self.prepare, self.encode = encoder.prepare, encoder.encode

    def read(self, row: int) -> Any:
        return self.encoder.read(_input_of(self.dataset[row]))

    def identity(self) -> Any:
        return None


def _encoder(model: torch.nn.Module | str, layer: str | None, loader: DataLoader[Any]) -> Encoder:
    """What embeds the rows of the loader's dataset, by their numbers."""
    first = _input_of(loader.dataset[0])
    if isinstance(first, Image.Image | str):
        encoder, _ = load_encoder(model, Dataset.from_dict({"input": [first]}), Options(layer=layer))
        return _MediaRows(encoder, loader.dataset)
    if isinstance(model, str):
        blank = Dataset.from_dict({"input": [Image.new("RGB", (1, 1))]})
        encoder, _ = load_encoder(model, blank, Options(layer=layer))
        return _TensorRows(encoder.model, lambda pixels: encoder.encode({"pixel_values": pixels}), loader)
    return _TensorRows(model, model if layer is None else _output_of(model, layer), loader)


def _output_of(model: torch.nn.Module, layer: str) -> Callable[[Any], Any]:
    """A function from inputs to what the layer returns when it first runs."""
    module_of(model, layer, "feature_layer")  # that there is none shows before the first batch

    def embed(inputs: Any) -> Any:
        with outputs_of(model, layer) as outputs:
            model(inputs)
        return outputs[0]

    return embed


def _input_of(row: Any) -> Any:
    """The input of a row, or of a batch: the first part of ``(input, label)``."""
    if isinstance(row, dict):
        raise TypeError(
            f"Rows are dictionaries of {list(row)}; this API takes tensors or tuples (input, label). For such a "
            "dataset use hf_curriculum.add_difficulty."
        )
    return row[0] if isinstance(row, tuple | list) else row
