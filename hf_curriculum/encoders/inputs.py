"""Which column of a dataset an encoder reads."""

from dataclasses import replace

from datasets import Audio, Dataset, Features, Image, LargeList, List, Value, Video

from hf_curriculum.columns import require_column

MODALITIES = ("image", "audio", "video", "text")


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


def modality_of(feature: object) -> str | None:
    """Modality that a feature type holds: image, audio, video (also a list of images), text, or ``None``."""
    if isinstance(feature, Image):
        return "image"
    if isinstance(feature, Audio):
        return "audio"
    if isinstance(feature, Video) or isinstance(feature, List | LargeList) and isinstance(feature.feature, Image):
        return "video"
    if isinstance(feature, Value) and feature.dtype in ("string", "large_string"):
        return "text"
    return None


def undecoded(dataset: Dataset, column: str) -> Dataset:
    """The dataset with a media column that hands out bytes, so that each row can be decoded by itself."""
    feature = dataset.features[column]
    if isinstance(feature, Image | Audio | Video):
        return dataset.cast_column(column, type(feature)(decode=False))
    if modality_of(feature) == "video":
        return dataset.cast_column(column, replace(feature, feature=Image(decode=False)))
    return dataset


def _described(features: Features) -> str:
    return ", ".join(f"{name}: {modality_of(feature) or type(feature).__name__}" for name, feature in features.items())
