"""A row as a person sees it: a thumbnail, a few seconds of sound, the beginning of a text, and its other columns."""

import base64
import io
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, Value
from numpy.typing import NDArray
from PIL import Image

from hf_curriculum._optional import require_extra
from hf_curriculum.data import (
    DIFFICULTY,
    SCORES,
    modality_of,
    part,
    provenance,
    read_audio,
    read_image,
    read_video,
    require_column,
    undecoded,
    without_folders,
)

RATE = 16_000
"""Sampling rate of sounds, Hz."""
_SIDE = 112  # pixels, of the longer side of a picture
_SECONDS = 3  # of a sound
_PEAKS = 96  # of its waveform
_FRAMES = 4  # of a video
_CHARACTERS = 240  # of a text
_FIELDS = 6  # other columns that are shown
Content = Image.Image | NDArray[np.float32] | str
"""An image (of a video, its middle), the samples of a sound at :data:`RATE`, or a text."""


def shown_column(dataset: Dataset, input_column: str | None, column: str = DIFFICULTY) -> str | None:
    """The column of media or text that shows what a row is.

    Args:
        dataset: Has it.
        input_column: The one asked for.
        column: Difficulty column, whose provenance tells which one was embedded.

    Returns:
        The one asked for, else the one embedded, else the first of images, audio and video, or else of text; ``None``
        without any.

    Raises:
        ValueError: If the column asked for is missing, or of another type.
    """
    media = [name for name, feature in dataset.features.items() if modality_of(feature)]
    if input_column is not None:
        require_column(dataset, input_column)
        if input_column not in media:
            raise ValueError(
                f"Column {input_column!r} holds {dataset.features[input_column]}, which cannot be shown; columns of "
                f"images, audio, video and text: {media}."
            )
        return input_column
    embedded = part(provenance(dataset, column), "embedding").get("input_column")
    if embedded in media:
        return str(embedded)
    return min(media, key=lambda name: modality_of(dataset.features[name]) == "text", default=None)


def read_row(dataset: Dataset, row: int, column: str) -> Content:
    """What a row shows; of a damaged one a text that says why it cannot be read.

    Args:
        dataset: Has the row.
        row: Its number.
        column: Of media or text, see :func:`shown_column`.

    Returns:
        The picture, sound or text.
    """
    return _read(undecoded(dataset.with_format(None).select_columns([column]), column)[row][column], dataset, column)


def examples(
    dataset: Dataset, rows: Sequence[int], column: str | None, silent: Collection[int] = ()
) -> Iterator[dict[str, Any]]:
    """What there is to see of some rows, one after the other.

    Args:
        dataset: Has the rows.
        rows: Their numbers.
        column: Of media or text, see :func:`shown_column`; ``None`` shows plain columns alone.
        silent: Those of the rows whose sound is left out; its waveform stays.

    Yields:
        ``fields``, name and value of up to six plain columns; ``name``, its first class, if it has one; and one of
        ``image`` (of a video four frames side by side), ``audio`` (data URIs) and ``text``, unless the row has nothing
        to show. A sound also has ``seconds``, its whole length, and ``peaks``, those of its waveform in per cent.
    """
    fields = [name for name in _plain(dataset) if name != column][:_FIELDS]
    kept = dataset.with_format(None).select_columns([*fields, *([column] if column else [])])
    if column is not None:
        kept = undecoded(kept, column)
    shown = kept.select(rows) if kept.column_names else [{}] * len(rows)  # a dataset without columns has no rows
    modality = None if column is None else modality_of(dataset.features[column])
    frames = _FRAMES if modality == "video" else 1
    for number, row in zip(rows, shown, strict=True):
        example: dict[str, Any] = {
            "fields": [[cut(name, 40), cut(_named(dataset.features[name], row[name]))] for name in fields]
        }
        if fields and isinstance(dataset.features[fields[0]], ClassLabel):
            example["name"] = example["fields"][0][1]
        if column is not None:
            example |= _embedded(_read(row[column], dataset, column, frames), frames, number not in silent)
        yield example


def cut(text: str, length: int = _CHARACTERS) -> str:
    """The beginning of a text.

    Args:
        text: Any.
        length: Characters at the most. Default 240.

    Returns:
        The text, with an ellipsis where something is missing.
    """
    return text if len(text) <= length else f"{text[:length]}…"


def _plain(dataset: Dataset) -> list[str]:
    """Columns of one number, class or text, classes first."""
    features = {name: feature for name, feature in dataset.features.items() if name not in SCORES}
    classes = [name for name, feature in features.items() if isinstance(feature, ClassLabel)]
    return classes + [name for name, feature in features.items() if isinstance(feature, Value)]


def _named(feature: Any, value: Any) -> str:
    named = isinstance(feature, ClassLabel) and value is not None and 0 <= value < feature.num_classes
    return str(feature.int2str(value) if named else value)


def _read(value: Any, dataset: Dataset, column: str, frames: int = 1) -> Content:
    modality = modality_of(dataset.features[column])
    try:
        if modality == "image":
            return read_image(value)
        if modality == "video":
            return _side_by_side(read_video(value, frames))
        if modality == "audio":
            return read_audio(value, RATE)
    except ModuleNotFoundError:
        raise
    except Exception as error:  # whatever a damaged file makes a decoder raise
        return f"Cannot be read: {without_folders(str(error))}"
    return "" if value is None else str(value)


def _side_by_side(frames: list[Image.Image]) -> Image.Image:
    if len(frames) == 1:
        return frames[0]
    for frame in frames:
        frame.thumbnail((_SIDE, _SIDE))
    strip = Image.new("RGB", (sum(frame.width for frame in frames), max(frame.height for frame in frames)))
    left = 0
    for frame in frames:
        strip.paste(frame, (left, 0))
        left += frame.width
    return strip


def _peaks(samples: NDArray[np.float32]) -> list[int]:
    """The loudest sample of each part of a sound, in per cent of the loudest of all."""
    loudest = [np.abs(part).max() for part in np.array_split(samples, min(_PEAKS, samples.size))]
    return np.rint(100 * np.array(loudest) / max(max(loudest), 1e-9)).astype(int).tolist()


def _embedded(content: Content, frames: int, audible: bool) -> dict[str, Any]:
    if isinstance(content, str):
        return {"text": cut(content)}
    buffer = io.BytesIO()
    if isinstance(content, np.ndarray):
        heard = content[: _SECONDS * RATE]
        seen = {"seconds": content.size / RATE, "peaks": _peaks(heard)}
        if not audible:
            return seen
        soundfile = require_extra("soundfile", extra="audio", purpose="Showing audio")
        soundfile.write(buffer, heard, RATE, format="MP3")
        return {"audio": _uri("audio/mpeg", buffer), **seen}
    content.thumbnail((frames * _SIDE, _SIDE))
    content.save(buffer, "WEBP", quality=75, lossless=max(content.size) <= _SIDE // 2)
    return {"image": _uri("image/webp", buffer)}


def _uri(kind: str, buffer: io.BytesIO) -> str:
    return f"data:{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
