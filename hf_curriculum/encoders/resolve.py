"""From a ``model_id`` and a dataset to an encoder and the column that it reads."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from datasets import Dataset, Features
from transformers import AutoConfig, AutoModel, PreTrainedModel
from transformers.models.auto.auto_factory import _get_model_class

from hf_curriculum.data import MODALITIES, modality_of, require_column, require_name
from hf_curriculum.encoders.audio import AudioEncoder
from hf_curriculum.encoders.base import Encoder, require_pooling
from hf_curriculum.encoders.builtin import BUILTINS, NAMES, BuiltinEncoder, TfidfEncoder
from hf_curriculum.encoders.callable import CallableEncoder
from hf_curriculum.encoders.hub import origin
from hf_curriculum.encoders.image import ImageEncoder
from hf_curriculum.encoders.text import TextEncoder
from hf_curriculum.encoders.video import VideoEncoder

logger = logging.getLogger(__name__)
_FAMILIES: dict[str, Callable[..., Encoder]] = {
    "image": ImageEncoder,
    "audio": AudioEncoder,
    "video": VideoEncoder,
    "text": TextEncoder,
}
_MODALITY_OF_INPUT = {
    "pixel_values": "image",
    "pixel_values_videos": "video",
    "input_values": "audio",
    "input_features": "audio",
    "input_ids": "text",
}
_TFIDF_ROWS = 100_000


@dataclass(frozen=True)
class Options:
    """What decides the vectors beside the model; the arguments of :func:`hf_curriculum.add_embeddings`."""

    input_column: str | None = None
    modality: str | None = None
    pooling: str = "auto"
    layer: int | str | None = None
    long_inputs: str = "truncate"
    max_seconds: float = 30.0
    transform: Callable[[Any], torch.Tensor] | None = None
    revision: str | None = None
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        require_pooling(self.pooling)
        if self.modality is not None and self.modality not in MODALITIES:
            raise ValueError(f"modality must be one of {list(MODALITIES)}, got {self.modality!r}.")
        if self.long_inputs not in ("truncate", "mean"):
            raise ValueError(f"long_inputs must be 'truncate' or 'mean', got {self.long_inputs!r}.")
        if not self.max_seconds > 0:
            raise ValueError(f"max_seconds must be > 0, got {self.max_seconds}.")


def load_encoder(model_id: str | Callable[..., Any], dataset: Dataset, options: Options) -> tuple[Encoder, str]:
    """The encoder of ``model_id`` and the column of ``dataset`` that it embeds; all checks come before the weights.

    Args:
        model_id: What embeds; see :func:`hf_curriculum.add_embeddings`.
        dataset: Has the column.
        options: Column, modality, pooling and so on.

    Returns:
        Encoder, on the CPU; name of the input column.

    Raises:
        ValueError: If the model is unknown, no column or several columns fit, or the model takes another modality.
    """
    if not isinstance(model_id, str):
        column = find_column(dataset, _given(options.modality), options.input_column, type(model_id).__name__)
        return CallableEncoder(model_id, options.transform, modality_of(dataset.features[column])), column
    require_name(model_id, "model_id")
    if model_id.startswith("builtin/"):
        return _builtin(model_id, dataset, options)
    return _from_hub(model_id, dataset, options)


def _from_hub(model_id: str, dataset: Dataset, options: Options) -> tuple[Encoder, str]:
    source = {
        "pretrained_model_name_or_path": model_id,
        "revision": options.revision,
        "trust_remote_code": options.trust_remote_code,
    }
    config = _load_config(source, model_id)
    own = _modalities(config, model_id, options.modality)
    _check_modality(model_id, own, options.modality)
    column = find_column(dataset, _given(options.modality) or own, options.input_column, model_id)
    modality = options.modality or (own[0] if len(own) == 1 else str(modality_of(dataset.features[column])))
    chosen: dict[str, Any] = {"pooling": options.pooling, "layer": options.layer}
    if modality in ("text", "audio"):
        chosen["long_inputs"] = options.long_inputs
    if modality == "audio":
        chosen["max_seconds"] = options.max_seconds
    try:
        model = AutoModel.from_pretrained(**source, config=config, dtype=torch.float32)
        encodes = _part(model, modality, options)
        encoder = _FAMILIES[modality](encodes, source, **chosen)
    except (OSError, ImportError) as error:
        raise ValueError(
            f"{model_id} cannot be loaded: it lacks weights, or what prepares its {modality} inputs ({error})."
        ) from error
    revision = getattr(config, "_commit_hash", None) or options.revision
    encoder.record |= {**origin(model_id, encodes), "revision": revision}
    logger.info("Embedding column %r with %s, pooling %r.", column, model_id, encoder.record["pooling"])
    return encoder, column


def _part(model: PreTrainedModel, modality: str, options: Options) -> PreTrainedModel:
    """The part of a model that encodes one modality; the whole where its own projection is wanted."""
    encoder_alone = any(name.endswith("T5EncoderModel") for name in model.config.architectures or ())
    if model.config.is_encoder_decoder or encoder_alone:
        return model.get_encoder()
    projects = hasattr(model, f"get_{modality}_features")
    if not projects or (options.pooling == "auto" and options.layer is None):
        return model
    return getattr(model, "vision_model" if modality == "image" else f"{modality}_model")


def _builtin(model_id: str, dataset: Dataset, options: Options) -> tuple[Encoder, str]:
    if model_id not in NAMES:
        raise ValueError(f"Unknown model_id {model_id!r}; built-in are {list(NAMES)}.")
    own = (BUILTINS[model_id][0] if model_id in BUILTINS else "text",)
    _check_modality(model_id, own, options.modality)
    column = find_column(dataset, own, options.input_column, model_id)
    if model_id in BUILTINS:
        return BuiltinEncoder(model_id), column
    rows = np.linspace(0, len(dataset) - 1, min(len(dataset), _TFIDF_ROWS)).astype(int)
    texts = dataset.select_columns([column]).select(rows)[:][column]
    return TfidfEncoder([text for text in texts if text and text.strip()]), column


def _given(modality: str | None) -> tuple[str, ...]:
    return () if modality is None else (modality,)


def _check_modality(model_id: str, own: tuple[str, ...], asked: str | None) -> None:
    if asked is not None and asked not in own:
        raise ValueError(
            f"{model_id} embeds {' or '.join(own)}, not {asked}. Drop modality={asked!r} or choose another model."
        )


def _load_config(source: dict[str, Any], model_id: str) -> Any:
    try:
        return AutoConfig.from_pretrained(**source)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"model_id {model_id!r} is neither a built-in descriptor {list(NAMES)}, nor a local directory with a "
            f"config.json, nor a model of the Hub that can be loaded: {error}"
        ) from error


def _modalities(config: Any, model_id: str, asked: str | None) -> tuple[str, ...]:
    """What a model of this config takes."""
    if type(config) not in AutoModel._model_mapping:  # the repository's own code, or not an encoder
        if asked is None:
            raise ValueError(
                f"Cannot tell what {model_id} ({config.model_type}) embeds. Pass modality=..., one of "
                f"{list(MODALITIES)}."
            )
        return (asked,)
    model_class: type[PreTrainedModel] = _get_model_class(config, AutoModel._model_mapping)
    several = tuple(name for name in MODALITIES if hasattr(model_class, f"get_{name}_features"))
    if "text" in several:  # a language model that also reads images has no vector for one
        return several
    main_input = str(model_class.main_input_name)
    if main_input not in _MODALITY_OF_INPUT:
        raise ValueError(f"{model_id} takes {main_input!r}; supported are {list(MODALITIES)} models.")
    modality = _MODALITY_OF_INPUT[main_input]
    return ("video",) if modality == "image" and hasattr(config, "num_frames") else (modality,)


def find_column(dataset: Dataset, modalities: tuple[str, ...], input_column: str | None, model: str) -> str:
    """The column to embed: the one asked for, or the only one of the modalities.

    Args:
        dataset: Has the column.
        modalities: What the model takes; empty for any medium or text.
        input_column: The column asked for.
        model: Name of the model, for errors.

    Returns:
        Name of the column.

    Raises:
        ValueError: If the column is missing or of another type, or none or several columns fit.
    """
    wanted = " or ".join(modalities) or "any media"
    candidates = [
        name for name, feature in dataset.features.items() if modality_of(feature) in (modalities or MODALITIES)
    ]
    if input_column is not None:
        require_column(dataset, input_column)
        if modalities and input_column not in candidates:
            raise ValueError(
                f"{model} embeds {wanted}, but column {input_column!r} is {dataset.features[input_column]}. "
                f"Columns of {wanted}: {candidates}."
            )
        return input_column
    if len(candidates) == 1:
        return candidates[0]
    found = _described(dataset.features)
    if not candidates:
        raise ValueError(f"{model} embeds {wanted}, but the dataset has no such column ({found}).")
    kinds = {modality_of(dataset.features[name]) for name in candidates}
    choice = "input_column=... or modality=..." if len(kinds) > 1 else "input_column=..."
    raise ValueError(f"Several columns could be embedded: {candidates}. Choose one with {choice} ({found}).")


def _described(features: Features) -> str:
    return ", ".join(f"{name}: {modality_of(feature) or type(feature).__name__}" for name, feature in features.items())
