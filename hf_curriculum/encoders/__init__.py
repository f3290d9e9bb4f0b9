"""From a ``model_id`` and a dataset to an encoder and the column that it reads."""

import logging
from collections.abc import Callable
from typing import Any

from datasets import Audio, Dataset, Features, Image, Value
from transformers import AutoConfig, AutoModel, PreTrainedModel

from hf_curriculum.columns import require_column
from hf_curriculum.encoders.audio import AudioEncoder
from hf_curriculum.encoders.base import Encoder, require_pooling
from hf_curriculum.encoders.builtin import BUILTINS, NAMES, BuiltinEncoder, TfidfEncoder
from hf_curriculum.encoders.image import ImageEncoder
from hf_curriculum.encoders.module import CallableEncoder
from hf_curriculum.encoders.text import TextEncoder

logger = logging.getLogger(__name__)

_FAMILIES: dict[str, Callable[..., Encoder]] = {"image": ImageEncoder, "audio": AudioEncoder, "text": TextEncoder}
_MODALITY_OF_INPUT = {
    "pixel_values": "image",
    "input_values": "audio",
    "input_features": "audio",
    "input_ids": "text",
}


def resolve(
    model_id: str | Callable[..., Any],
    dataset: Dataset,
    *,
    input_column: str | None,
    modality: str | None,
    pooling: str,
    revision: str | None,
    trust_remote_code: bool,
) -> tuple[Encoder, str]:
    """The encoder of ``model_id`` and the column of ``dataset`` that it embeds; all checks come before the weights.

    Args: as those of :func:`hf_curriculum.add_embeddings`.

    Returns:
        Encoder, on the CPU; name of the input column.

    Raises:
        ValueError: If the model is unknown, no column or several columns fit, or the model takes another modality.
    """
    require_pooling(pooling)
    if modality is not None and modality not in _FAMILIES:
        raise ValueError(f"modality must be one of {sorted(_FAMILIES)}, got {modality!r}.")
    if not isinstance(model_id, str):
        return CallableEncoder(model_id), find_column(dataset, modality, input_column, type(model_id).__name__)
    if model_id.startswith("builtin/"):
        return _builtin(model_id, dataset, modality, input_column)
    source = {
        "pretrained_model_name_or_path": model_id,
        "revision": revision,
        "trust_remote_code": trust_remote_code,
    }
    config = _load_config(source, model_id)
    modality = _check_modality(model_id, _modality(config, model_id, modality), modality)
    column = find_column(dataset, modality, input_column, model_id)
    encoder: Encoder = _FAMILIES[modality](AutoModel.from_pretrained(**source, config=config), source, pooling)
    encoder.record |= {"model_id": model_id, "revision": getattr(config, "_commit_hash", None) or revision}
    logger.info("Embedding column %r with %s, pooling %r.", column, model_id, encoder.record["pooling"])
    return encoder, column


def find_column(dataset: Dataset, modality: str | None, input_column: str | None, model: str) -> str:
    """The column to embed: the one asked for, or the only one of the modality.

    Raises:
        ValueError: If the column is missing or of another type, or none or several columns fit.
    """
    candidates = [name for name, feature in dataset.features.items() if modality_of(feature) in _accepted(modality)]
    if input_column is not None:
        require_column(dataset, input_column)
        if modality is not None and input_column not in candidates:
            raise ValueError(
                f"{model} embeds {modality}, but column {input_column!r} is {dataset.features[input_column]}. "
                f"Columns of {modality}: {candidates}."
            )
        return input_column
    if len(candidates) == 1:
        return candidates[0]
    found = _described(dataset.features)
    if not candidates:
        raise ValueError(f"{model} embeds {modality or 'any media'}, but the dataset has no such column ({found}).")
    raise ValueError(f"Several columns could be embedded: {candidates}. Choose one with input_column=... ({found}).")


def modality_of(feature: object) -> str | None:
    """Modality that a feature type holds: image, audio, text, or ``None``."""
    if isinstance(feature, Image):
        return "image"
    if isinstance(feature, Audio):
        return "audio"
    if isinstance(feature, Value) and feature.dtype in ("string", "large_string"):
        return "text"
    return None


def _accepted(modality: str | None) -> tuple[str, ...]:
    return tuple(_FAMILIES) if modality is None else (modality,)


def _described(features: Features) -> str:
    return ", ".join(f"{name}: {modality_of(feature) or type(feature).__name__}" for name, feature in features.items())


def _builtin(model_id: str, dataset: Dataset, modality: str | None, input_column: str | None) -> tuple[Encoder, str]:
    if model_id not in NAMES:
        raise ValueError(f"Unknown model_id {model_id!r}; built-in are {list(NAMES)}.")
    own = BUILTINS[model_id][0] if model_id in BUILTINS else "text"
    column = find_column(dataset, _check_modality(model_id, own, modality), input_column, model_id)
    if model_id in BUILTINS:
        return BuiltinEncoder(model_id), column
    return TfidfEncoder(dataset.select_columns([column])[:][column]), column


def _check_modality(model_id: str, own: str, asked: str | None) -> str:
    if asked is not None and asked != own:
        raise ValueError(f"{model_id} embeds {own}, not {asked}. Drop modality={asked!r} or choose another model.")
    return own


def _load_config(source: dict[str, Any], model_id: str) -> Any:
    try:
        return AutoConfig.from_pretrained(**source)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"model_id {model_id!r} is neither a built-in descriptor {list(NAMES)}, nor a local directory with a "
            f"config.json, nor a model of the Hub that can be loaded: {error}"
        ) from error


def _modality(config: Any, model_id: str, asked: str | None) -> str:
    if type(config) not in AutoModel._model_mapping:  # the repository's own code, or not an encoder
        if asked is None:
            raise ValueError(
                f"Cannot tell what {model_id} ({config.model_type}) embeds. Pass modality=..., one of "
                f"{sorted(_FAMILIES)}."
            )
        return asked
    model_class: type[PreTrainedModel] = AutoModel._model_mapping[type(config)]
    main_input = str(model_class.main_input_name)
    if main_input not in _MODALITY_OF_INPUT:
        raise ValueError(f"{model_id} takes {main_input!r}; supported are {sorted(_FAMILIES)} models.")
    return _MODALITY_OF_INPUT[main_input]
