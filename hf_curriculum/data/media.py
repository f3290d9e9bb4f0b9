"""Rows of media: what a column holds, and from its bytes to pictures, sounds, films and texts."""

import math
from dataclasses import replace
from typing import Any

import datasets
import numpy as np
from datasets import Audio, Dataset, LargeList, List, Value, Video
from numpy.typing import NDArray
from PIL import Image

from hf_curriculum._optional import require_extra
from hf_curriculum.data.opening import open_media
from hf_curriculum.data.pictures import BadRow, from_array, to_rgb

MODALITIES = ("image", "audio", "video", "text")


def modality_of(feature: object) -> str | None:
    """Modality that a feature type holds: image, audio, video (also a list of images), text, or ``None``."""
    if isinstance(feature, datasets.Image):
        return "image"
    if isinstance(feature, Audio):
        return "audio"
    if (
        isinstance(feature, Video)
        or isinstance(feature, List | LargeList)
        and isinstance(feature.feature, datasets.Image)
    ):
        return "video"
    if isinstance(feature, Value) and feature.dtype in ("string", "large_string"):
        return "text"
    return None


def undecoded(dataset: Dataset, column: str) -> Dataset:
    """A dataset whose rows can be decoded one by one.

    Args:
        dataset: Has the column.
        column: Of media, or any other.

    Returns:
        The dataset; a media column hands out bytes and path of each row.
    """
    feature = dataset.features[column]
    if isinstance(feature, datasets.Image | Audio | Video):
        return dataset.cast_column(column, type(feature)(decode=False))
    if modality_of(feature) == "video":
        return dataset.cast_column(column, replace(feature, feature=datasets.Image(decode=False)))
    return dataset


def _is_null(row: Any) -> bool:
    return row is None or isinstance(row, dict) and all(value is None for value in row.values())


def read_image(row: Any) -> Image.Image:
    """An image as RGB, upright.

    Args:
        row: ``{"bytes": ..., "path": ...}``, as a column of ``Image(decode=False)`` gives it; a PIL image; or
            its numbers, as formats of datasets give them, see :func:`hf_curriculum.data.pictures.from_array`.

    Returns:
        The image in mode RGB as a viewer shows it, with its EXIF rotation applied; see
        :func:`hf_curriculum.data.pictures.to_rgb`.

    Raises:
        BadRow: If there is no image, or its numbers are no picture.
        OSError: If it is damaged.
    """
    if _is_null(row):
        raise BadRow("the image is null")
    if isinstance(row, dict):
        row = Image.open(open_media(row))
    return to_rgb(row if isinstance(row, Image.Image) else from_array(row))


_SHORTEST = 0.025  # seconds, a frame of Wav2Vec2: shorter clips are padded with silence


def read_audio(row: Any, sampling_rate: int) -> NDArray[np.float32]:
    """Samples of an audio row, mixed to one channel and resampled.

    Args:
        row: ``{"bytes": ..., "path": ...}``, as a column of ``Audio(decode=False)`` gives it; or decoded, as datasets
            and their streams do it: ``{"array": ..., "sampling_rate": ...}``, or an ``AudioDecoder`` of torchcodec.
        sampling_rate: Rate wanted, in Hz.

    Returns:
        float32, shape ``(samples,)``.

    Raises:
        BadRow: If there is no audio, no sample, or one that is not finite.
        ModuleNotFoundError: If the ``audio`` extra is not installed.
    """
    if _is_null(row):
        raise BadRow("the audio is null")
    samples, rate = _decoded(row)
    mono: NDArray[np.float32] = samples.mean(axis=1)
    if mono.size == 0:
        raise BadRow("the audio has no samples")
    if not np.isfinite(mono).all():
        raise BadRow("the audio has a NaN or infinite sample")
    if rate != sampling_rate:
        soxr = require_extra("soxr", extra="audio", purpose="Resampling audio")
        mono = np.asarray(soxr.resample(mono, rate, sampling_rate), dtype=np.float32)
    return np.pad(mono, (0, max(0, math.ceil(_SHORTEST * sampling_rate) - mono.size)))


def _decoded(row: Any) -> tuple[NDArray[np.float32], int]:
    """Samples, shape ``(samples, channels)``, and their rate in Hz."""
    if hasattr(row, "get_all_samples"):
        decoded = row.get_all_samples()
        return decoded.data.numpy().T, decoded.sample_rate
    if "array" in row:
        samples = np.asarray(row["array"], np.float32)
        return np.atleast_2d(samples).T, int(row["sampling_rate"])
    soundfile = require_extra("soundfile", extra="audio", purpose="Reading audio")
    try:
        samples, rate = soundfile.read(open_media(row), dtype="float32", always_2d=True)
        return samples, rate
    except soundfile.LibsndfileError as unknown:
        try:
            return _decoded_by_ffmpeg(row)
        except ModuleNotFoundError as missing:
            raise BadRow(f"{unknown} If it is neither WAV, FLAC, OGG nor MP3: {missing}") from unknown
        except Exception as damaged:
            raise unknown from damaged


def _decoded_by_ffmpeg(row: Any) -> tuple[NDArray[np.float32], int]:
    """The same for AAC and all that libsndfile does not know."""
    av = require_extra("av", extra="video", purpose="Reading this format")
    floats = av.AudioResampler(format="fltp")
    with av.open(open_media(row)) as container:
        rate = container.streams.audio[0].rate
        frames = [part.to_ndarray() for frame in container.decode(audio=0) for part in floats.resample(frame)]
    if not frames:
        raise BadRow("the audio has no samples")
    return np.concatenate(frames, axis=1).T, rate


def read_video(row: Any, n_frames: int) -> list[Image.Image]:
    """Frames at even distances over a whole video.

    Args:
        row: ``{"bytes": ..., "path": ...}``, as a column of ``Video(decode=False)`` gives it; a list of images; or a
            ``VideoDecoder`` of torchcodec, as a column of ``Video()`` gives it.
        n_frames: Frames wanted; of a shorter video some come twice.

    Returns:
        ``n_frames`` images in mode RGB.

    Raises:
        BadRow: If there is no frame.
        ModuleNotFoundError: If the row is a video file and the ``video`` extra is not installed.
    """
    if isinstance(row, list):
        return [read_image(row[i]) for i in _spread(n_frames, len(row))]
    if _is_null(row):
        raise BadRow("the video is null")
    if hasattr(row, "get_frames_at"):  # a VideoDecoder of torchcodec
        return [read_image(row[i]) for i in _spread(n_frames, len(row))]
    av = require_extra("av", extra="video", purpose="Reading videos")
    with av.open(open_media(row)) as container:
        count = sum(packet.size > 0 for packet in container.demux(video=0))
        container.seek(0)
        chosen = _spread(n_frames, count)
        # Only the frames that count become pictures: those of a minute of film would fill the memory.
        frames = {i: frame.to_image() for i, frame in enumerate(container.decode(video=0)) if i in chosen}
    if not frames:
        raise BadRow("the video has no frames")
    return [read_image(frames.get(i, frames[max(frames)])) for i in chosen]  # a damaged end is its last picture


def _spread(n_frames: int, count: int) -> list[int]:
    if count == 0:
        raise BadRow("the video has no frames")
    return [int((i + 0.5) * count / n_frames) for i in range(n_frames)]


def read_text(row: str | None) -> str:
    """A text with something in it.

    Raises:
        BadRow: If it is null, empty, or white space.
    """
    if row is None:
        raise BadRow("the text is null")
    if not row.strip():
        raise BadRow("the text is empty")
    return row
