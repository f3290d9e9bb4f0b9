"""From a ``model_id`` to what it can embed, and to its encoder."""

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from huggingface_hub import try_to_load_from_cache
from transformers import MODEL_MAPPING, AutoConfig, AutoModel, PreTrainedModel

from hf_curriculum.data import MODALITIES, modality_of, require_column, require_name, require_number
from hf_curriculum.encoders.audio import AudioEncoder
from hf_curriculum.encoders.base import Encoder, require_pooling
from hf_curriculum.encoders.builtin import BUILTINS, NAMES, BuiltinEncoder, TfidfEncoder
from hf_curriculum.encoders.callable import CallableEncoder
from hf_curriculum.encoders.hub import origin
from hf_curriculum.encoders.image import ImageEncoder
from hf_curriculum.encoders.text import TextEncoder
from hf_curriculum.encoders.video import VideoEncoder

logger = logging.getLogger(__name__)

_FAMILIES: dict[str, Callable[..., ImageEncoder | AudioEncoder | VideoEncoder | TextEncoder]] = {
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
_TFIDF_ROWS = 100_000  # that words and their weights are taken from
_OF_HUB = ("layer", "pooling", "long_inputs", "max_seconds", "revision")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What decides the vectors beside the model; arguments of :func:`hf_curriculum.add_embeddings`."""

    modality: str | None = None
    layer: int | str | None = None
    pooling: str = "auto"
    long_inputs: str = "truncate"
    max_seconds: float = 30.0
    transform: Callable[[Any], torch.Tensor] | None = None
    revision: str | None = None
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        require_pooling(self.pooling)
        if not isinstance(self.layer, int | str | None):
            raise TypeError(f"layer must be an index of hidden states or the name of a module, got {self.layer!r}.")
        if self.modality is not None and self.modality not in MODALITIES:
            raise ValueError(f"modality must be one of {list(MODALITIES)}, got {self.modality!r}.")
        if self.long_inputs not in ("truncate", "mean"):
            raise ValueError(f"long_inputs must be 'truncate' or 'mean', got {self.long_inputs!r}.")
        require_number(self.max_seconds, "max_seconds")
        if not self.max_seconds > 0:
            raise ValueError(f"max_seconds must be > 0, got {self.max_seconds}.")


@dataclass(frozen=True)
class Model:
    """What a ``model_id`` stands for; its weights are not loaded yet.

    Attributes:
        name: For messages.
        modalities: What it can embed; empty if any column will do.
        load: From one of these modalities (or that of the column) to the encoder, on the CPU. Raises a ``ValueError``
            if the model lacks weights, or what prepares its inputs.
        learns: Whether its encoder learns from the rows of a dataset, and cannot be loaded.
    """

    name: str
    modalities: tuple[str, ...]
    load: Callable[[str | None], Encoder]
    learns: bool = False


def find_model(model_id: str | Callable[..., Any], options: Options) -> Model:
    """What ``model_id`` stands for, after all checks that need no weights.

    Args:
        model_id: What embeds; see :func:`hf_curriculum.add_embeddings`.
        options: Modality, pooling and so on.

    Returns:
        The model.

    Raises:
        TypeError: If it is nothing that embeds.
        ValueError: If the model is unknown, takes another modality than the options say, or does not heed one.
    """
    if isinstance(model_id, os.PathLike):
        model_id = os.fspath(model_id)
    if not isinstance(model_id, str):
        if isinstance(model_id, type) or not (callable(model_id) or hasattr(model_id, "encode")):
            raise TypeError(
                "model_id must be the name of a model, its folder, a built-in descriptor, a torch.nn.Module, a "
                f"SentenceTransformer or a function of a list of rows, got {model_id!r}."
            )
        _require_unset(options, _OF_HUB, "a model of the Hub")
        asked = () if options.modality is None else (options.modality,)
        return Model(type(model_id).__name__, asked, partial(CallableEncoder, model_id, options.transform))
    require_name(model_id, "model_id")
    _require_unset(options, ("transform",), "a torch.nn.Module or a function")
    if model_id.startswith("builtin/"):
        return _builtin(model_id, options)
    return _of_hub(model_id, options)


def _require_unset(options: Options, names: tuple[str, ...], kind: str) -> None:
    """Raise if an option was given that this model does not heed.

    Raises:
        ValueError: If it was.
    """
    for name in names:
        if getattr(options, name) != getattr(Options, name):
            raise ValueError(f"{name}={getattr(options, name)!r} is an option of {kind}: leave it out.")


def load_encoder(
    model_id: str | Callable[..., Any], dataset: Dataset, options: Options, input_column: str | None = None
) -> tuple[Encoder, str]:
    """The encoder of ``model_id`` and the column of ``dataset`` that it embeds; all checks come before the weights.

    Args:
        model_id: What embeds; see :func:`hf_curriculum.add_embeddings`.
        dataset: Has the column; ``"builtin/tfidf"`` learns its words from at most 100,000 of its rows.
        options: Modality, pooling and so on.
        input_column: The column asked for. Default the only one that fits.

    Returns:
        Encoder, on the CPU; name of the column.

    Raises:
        ValueError: If the model is unknown, no column or several columns fit, the model takes another modality, or
            the texts for ``"builtin/tfidf"`` have no words, or only one.
    """
    model = find_model(model_id, options)
    column, modality = find_column(dataset.features, model, input_column, options.modality)
    if not model.learns:
        return model.load(modality), column
    rows = np.linspace(0, len(dataset) - 1, min(len(dataset), _TFIDF_ROWS)).astype(int)
    texts = dataset.with_format(None).select_columns([column]).select(rows)[:][column]
    return TfidfEncoder([text for text in texts if text and text.strip()]), column


def find_column(
    features: Mapping[str, Any], model: Model, asked: str | None = None, modality: str | None = None
) -> tuple[str, str | None]:
    """The column to embed, and what it holds: the one asked for, or the only one that the model takes.

    Args:
        features: Feature types by column.
        model: Says what it takes.
        asked: The column asked for.
        modality: The modality asked for.

    Returns:
        Name of the column; its modality, ``None`` if it is neither media nor text.

    Raises:
        ValueError: If the column is missing or of another type, or none or several columns fit.
    """
    taken = (modality,) if modality else model.modalities
    wanted = " or ".join(taken) or "any media"
    kinds = {name: modality_of(feature) for name, feature in features.items()}
    candidates = [name for name, kind in kinds.items() if kind in (taken or MODALITIES)]
    if asked is not None:
        require_column(features, asked)
        if taken and asked not in candidates:
            raise ValueError(
                f"{model.name} embeds {wanted}, but column {asked!r} is {features[asked]}. "
                f"Columns of {wanted}: {candidates}."
            )
        return asked, kinds[asked]
    if len(candidates) == 1:
        return candidates[0], kinds[candidates[0]]
    found = ", ".join(f"{name}: {kinds[name] or type(feature).__name__}" for name, feature in features.items())
    if not candidates:
        raise ValueError(f"{model.name} embeds {wanted}, but the dataset has no such column ({found}).")
    choice = (
        "input_column=..." if len({kinds[name] for name in candidates}) == 1 else "input_column=... or modality=..."
    )
    raise ValueError(f"Several columns could be embedded: {candidates}. Choose one with {choice} ({found}).")


def _of_hub(model_id: str, options: Options) -> Model:
    if os.path.isdir(model_id):
        _require_unset(options, ("revision",), "a model of the Hub, not of a folder")
    source = {
        "pretrained_model_name_or_path": model_id,
        "revision": options.revision,
        "trust_remote_code": options.trust_remote_code,
    }
    config = _load_config(source, model_id)
    modalities = _modalities(config, model_id, options.modality)
    _check_modality(model_id, modalities, options.modality)
    return Model(model_id, modalities, partial(_load, source, config, options, modalities))


def _load(
    source: dict[str, Any], config: Any, options: Options, modalities: tuple[str, ...], of_column: str | None
) -> Encoder:
    modality = options.modality or (modalities[0] if len(modalities) == 1 else str(of_column))
    chosen: dict[str, Any] = {"pooling": options.pooling, "layer": options.layer}
    if modality in ("text", "audio"):
        chosen["long_inputs"] = options.long_inputs
    else:
        _require_unset(options, ("long_inputs",), "text and audio models")
    if modality == "audio":
        chosen["max_seconds"] = options.max_seconds
    else:
        _require_unset(options, ("max_seconds",), "audio models")
    model_id = source["pretrained_model_name_or_path"]
    try:
        model = AutoModel.from_pretrained(**source, config=config, dtype=torch.float32)
        encodes = _part(model, modality, options)
        encoder = _FAMILIES[modality](encodes, source, **chosen)
    except Exception as error:  # each format has its own for a damaged file
        if type(error) is ValueError:
            raise
        raise ValueError(
            f"{model_id} cannot be loaded: it lacks weights, or what prepares its {modality} inputs, or these are "
            f"damaged ({error})."
        ) from error
    revision = _commit(model_id, options.revision) or options.revision
    encoder.record |= {**origin(model_id, encoder), "revision": revision}
    logger.info("Embedding %s with %s, pooling %r.", modality, model_id, encoder.record["pooling"])
    return encoder


def _commit(model_id: str, revision: str | None) -> str | None:
    """The commit of a model of the Hub; ``None`` for a folder."""
    if os.path.isdir(model_id):
        return None
    found = try_to_load_from_cache(model_id, "config.json", revision=revision)
    return Path(found).parent.name if isinstance(found, str) else None


def _part(model: PreTrainedModel, modality: str, options: Options) -> PreTrainedModel:
    """The part of a model that encodes one modality; the whole where its own projection is wanted."""
    encoder_alone = any(name.endswith("T5EncoderModel") for name in model.config.architectures or ())
    if model.config.is_encoder_decoder or encoder_alone:
        return model.get_encoder()
    projects = hasattr(model, f"get_{modality}_features")
    if not projects or (options.pooling == "auto" and options.layer is None):
        return model
    return getattr(model, "vision_model" if modality == "image" else f"{modality}_model")


def _builtin(model_id: str, options: Options) -> Model:
    if model_id not in NAMES:
        raise ValueError(f"Unknown model_id {model_id!r}; built-in are {list(NAMES)}.")
    modalities = (BUILTINS[model_id][0] if model_id in BUILTINS else "text",)
    _check_modality(model_id, modalities, options.modality)
    _require_unset(options, _OF_HUB, "a model of the Hub")
    return Model(model_id, modalities, lambda _: BuiltinEncoder(model_id), learns=model_id not in BUILTINS)


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
    if type(config) not in MODEL_MAPPING:  # the repository's own code, or not an encoder
        if asked is None:
            raise ValueError(
                f"Cannot tell what {model_id} ({config.model_type}) embeds. Pass modality=..., one of "
                f"{list(MODALITIES)}."
            )
        return (asked,)
    model_class = _class_of(config)
    several = tuple(name for name in MODALITIES if hasattr(model_class, f"get_{name}_features"))
    if "text" in several:  # a language model that also reads images has no vector for one
        return several
    main_input = str(model_class.main_input_name)
    if main_input not in _MODALITY_OF_INPUT:
        raise ValueError(f"{model_id} takes {main_input!r}; supported are {list(MODALITIES)} models.")
    modality = _MODALITY_OF_INPUT[main_input]
    return ("video",) if modality == "image" and hasattr(config, "num_frames") else (modality,)


def _class_of(config: Any) -> type[PreTrainedModel]:
    """The class that ``AutoModel`` makes of a config."""
    found = MODEL_MAPPING[type(config)]
    if not isinstance(found, tuple | list):
        return found
    return next((one for one in found if one.__name__ in (config.architectures or ())), found[0])
