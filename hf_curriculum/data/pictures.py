"""Pictures of every mode and range as 8-bit RGB, as a viewer shows them."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

_ORIENTATION = ExifTags.Base.Orientation
_WHITE_IS_ZERO = (262, 0)  # tag and value in TIFF, which Pillow heeds for 8 bit alone


class BadRow(ValueError):
    """A row that cannot be embedded; the message says why."""


def to_rgb(image: Image.Image) -> Image.Image:
    """A picture of any mode in mode RGB, upright.

    Transparent pictures are laid on white. 16-bit grey is scaled to 8 bit; 32-bit integers are read as 8 bit if none
    is above 255, else as 16 bit; floats as [0, 1] if none is above 1, else as [0, 255].

    Raises:
        BadRow: If numbers are outside these ranges, or the mode cannot be shown.
    """
    shown, orientation = _shown(image), image.getexif().get(_ORIENTATION, 1)
    shown.getexif()[_ORIENTATION] = orientation
    return ImageOps.exif_transpose(shown)


def _shown(image: Image.Image) -> Image.Image:
    if image.mode[0] in "IF":
        return _of_numbers(image)
    if image.mode == "LAB":
        return _of_lab(image)
    try:
        if _is_transparent(image):
            image = image.convert("RGBA")
            return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
        return image.convert("RGB")
    except ValueError as error:
        raise BadRow(f"a picture of mode {image.mode!r} cannot be shown in RGB: {error}") from error


def from_array(array: Any) -> Image.Image:
    """A picture in mode RGB from an array.

    Args:
        array: Of numpy or torch, shape ``(height, width)``, ``(height, width, channels)`` or ``(channels, height,
            width)``; where both could be meant, numpy has channels last and torch first. 1 channel is grey, 2 grey
            and alpha, 3 RGB, 4 RGB and alpha. Booleans; integers, of which ``uint16`` is 16 bit, others 8 bit if none
            is above 255, else 16 bit; floats in [0, 1], or else in [0, 255].

    Raises:
        BadRow: If shape, type or range is another one.
    """
    first = isinstance(array, torch.Tensor)
    if first:
        array = array.detach().cpu()
        array = (array.float() if array.dtype == torch.bfloat16 else array).numpy()
    array = np.asarray(array)
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise BadRow(f"an array of shape {array.shape} is no picture")
    if array.ndim == 3:
        last, leading = array.shape[2] <= 4, array.shape[0] <= 4
        if leading and (first or not last):
            array = np.moveaxis(array, 0, 2)
        elif not last:
            raise BadRow(f"an array of shape {array.shape} has no dimension of 1 to 4 channels")
    pixels = _eight_bit(array)
    return to_rgb(Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels)))


def _is_transparent(image: Image.Image) -> bool:
    return image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info


def _of_numbers(image: Image.Image) -> Image.Image:
    """Grey of more than 8 bit."""
    numbers = np.asarray(image)
    if image.mode.startswith("I;16") and numbers.dtype.kind == "u":
        numbers = numbers.astype(np.uint16)
    elif image.mode == "I" and image.format == "PNG":  # older Pillow gives 16-bit PNG so
        numbers = numbers.astype(np.uint16)
    pixels = _eight_bit(numbers)
    tag, zero = _WHITE_IS_ZERO
    if getattr(image, "tag_v2", {}).get(tag) == zero:
        pixels = 255 - pixels
    hidden = image.info.get("transparency")  # of 16-bit PNG: a grey that is transparent
    if isinstance(hidden, int):
        pixels = np.where(numbers == hidden, np.uint8(255), pixels)
    return Image.fromarray(pixels).convert("RGB")


def _of_lab(image: Image.Image) -> Image.Image:
    try:
        from PIL import ImageCms

        transform = ImageCms.buildTransform(
            ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB"
        )
        shown = ImageCms.applyTransform(image, transform)
    except (ImportError, ImageCms.PyCMSError) as error:
        raise BadRow(f"a picture of mode 'LAB' cannot be shown in RGB: {error}") from error
    assert shown is not None  # only a transform in place returns none
    return shown


def _eight_bit(numbers: NDArray[Any]) -> NDArray[np.uint8]:
    kind, size = numbers.dtype.kind, numbers.dtype.itemsize
    if kind == "b":
        return numbers.astype(np.uint8) * np.uint8(255)
    if kind == "u" and size == 1:
        return numbers
    if kind not in "uif":
        raise BadRow(f"numbers of type {numbers.dtype} are no picture")
    low, high = float(numbers.min()), float(numbers.max())
    if kind == "f":
        top = 1 if high <= 1 else 255
    else:
        top = 65535 if high > 255 or (kind == "u" and size == 2) else 255
    if not (low >= 0 and high <= top):
        known = "neither in [0, 1] nor in [0, 255]" if kind == "f" else "neither of 8 nor of 16 bit"
        raise BadRow(f"the picture holds numbers from {low:g} to {high:g}, {known}")
    return (numbers.astype(np.float64) * (255 / top)).round().astype(np.uint8)
