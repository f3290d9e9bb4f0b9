"""Pictures of every mode and range, as a viewer shows them."""

import io

import numpy as np
import pytest
import tifffile
import torch
from datasets import Dataset, Features
from datasets import Image as ImageFeature
from PIL import Image

from hf_curriculum import add_embeddings
from hf_curriculum.data.media import read_image
from hf_curriculum.data.pictures import BadRow, from_array, to_rgb

LEVELS = np.arange(0, 256, 17)
GREY = np.tile(LEVELS.astype(np.uint8), (16, 1))
"""A ramp from black to white, 16 x 16."""
COLOURS = np.stack([GREY, GREY.T, 255 - GREY], axis=2)


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return {"bytes": file.getvalue(), "path": None}


def tiff(array, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, array, **options)
    return {"bytes": file.getvalue(), "path": None}


def column_of(array):
    """What ``datasets`` makes of an array."""
    dataset = Dataset.from_dict({"image": [array]}, features=Features({"image": ImageFeature()}))
    return dataset.cast_column("image", ImageFeature(decode=False))[0]["image"]


def colour(mode):
    return Image.fromarray(COLOURS).convert(mode)


WIDE = GREY.astype(np.uint16) * 257
GREYS = {
    "L PNG": lambda: encoded(Image.fromarray(GREY), "PNG"),
    "16-bit PNG": lambda: encoded(Image.fromarray(WIDE), "PNG"),
    "16-bit TIFF": lambda: encoded(Image.fromarray(WIDE), "TIFF"),
    "16-bit TIFF, big-endian": lambda: tiff(WIDE, byteorder=">"),
    "16-bit TIFF, white is zero": lambda: tiff(65535 - WIDE, photometric="miniswhite"),
    "8-bit TIFF, white is zero": lambda: tiff(255 - GREY, photometric="miniswhite"),
    "float TIFF to 1": lambda: tiff(GREY.astype(np.float32) / 255),
    "float TIFF to 255": lambda: tiff(GREY.astype(np.float32)),
    "I with 8 bit": lambda: Image.fromarray(GREY.astype(np.int32)),
    "I with 16 bit": lambda: Image.fromarray(WIDE.astype(np.int32)),
    "I;16": lambda: Image.fromarray(WIDE),
    "I;16B": lambda: Image.fromarray(WIDE.astype(">u2")),
    "F to 1": lambda: Image.fromarray(GREY.astype(np.float32) / 255),
    "F to 255": lambda: Image.fromarray(GREY.astype(np.float32)),
    "LA": lambda: encoded(Image.fromarray(GREY).convert("LA"), "PNG"),
    "palette": lambda: encoded(Image.fromarray(GREY).convert("P"), "PNG"),
    "GIF": lambda: encoded(Image.fromarray(GREY), "GIF"),
    **{
        f"datasets, {dtype}": lambda dtype=dtype, top=top: column_of((GREY / 255 * top).astype(dtype))
        for dtype, top in [
            ("uint8", 255),
            ("uint16", 65535),
            (">u2", 65535),
            ("int16", 255),
            ("int32", 255),
            ("int64", 255),
            ("uint32", 65535),
            ("float32", 1),
            ("float64", 1),
            ("float64", 255),
        ]
    },
}


@pytest.mark.parametrize("name", GREYS)
def test_a_ramp_of_grey_is_the_ramp_that_a_viewer_shows(name):
    shown = np.asarray(read_image(GREYS[name]()))
    assert shown.shape == (16, 16, 3)
    assert np.abs(shown.astype(int) - GREY[..., None]).max() <= 1


COLOURED = {
    "RGB": (lambda: encoded(colour("RGB"), "PNG"), 0),
    "RGB48 PNG-like TIFF": (lambda: tiff(COLOURS.astype(np.uint16) * 257, photometric="rgb"), 1),
    "opaque RGBA": (lambda: encoded(colour("RGBA"), "PNG"), 0),
    "RGBX": (lambda: colour("RGBX"), 0),
    "WebP": (lambda: encoded(colour("RGBA"), "WEBP", lossless=True), 0),
    "CMYK": (lambda: colour("CMYK"), 1),
    "CMYK JPEG": (lambda: encoded(colour("CMYK"), "JPEG", quality=100, subsampling=0), 12),
    "YCbCr": (lambda: colour("YCbCr"), 3),
    "HSV": (lambda: colour("HSV"), 12),
}


@pytest.mark.parametrize("name", COLOURED)
def test_colours_are_those_of_the_picture(name):
    make, tolerance = COLOURED[name]
    assert np.abs(np.asarray(read_image(make())).astype(int) - COLOURS).max() <= tolerance


def test_lab_is_shown_in_its_colours():
    skimage = pytest.importorskip("skimage.color")  # the reference
    soft = (64 + COLOURS / 2).astype(np.uint8)
    lab = skimage.rgb2lab(soft)
    stored = (lab * [2.55, 1, 1]).round().astype(np.int64).astype(np.uint8)  # a and b are signed
    shown = np.asarray(to_rgb(Image.frombytes("LAB", (16, 16), stored.tobytes())))
    assert np.abs(shown.astype(int) - soft).mean() < 8  # the white point differs


def test_one_bit_and_booleans_are_black_and_white():
    bits = GREY > 100
    for row in (column_of(bits), Image.fromarray(bits), encoded(Image.fromarray(bits), "PNG"), from_array(bits)):
        np.testing.assert_array_equal(np.asarray(read_image(row))[..., 0], np.where(bits, 255, 0))


GLYPH = np.zeros((16, 16), bool)
GLYPH[4:12, 6:10] = True


def glyph(mode):
    alpha = Image.fromarray(np.where(GLYPH, np.uint8(255), 0).astype(np.uint8))
    image = Image.new("RGB" if mode == "RGBA" else "L", (16, 16), 0).convert(mode)
    image.putalpha(alpha)
    return image


def paletted(kind):
    image = Image.fromarray(np.where(GLYPH, 0, 1).astype(np.uint8), "P")
    image.putpalette([0, 0, 0, 0, 0, 0] + [9] * 762)
    return encoded(image, kind, transparency=1)


GLYPHS = {
    "RGBA PNG": lambda: encoded(glyph("RGBA"), "PNG"),
    "LA PNG": lambda: encoded(glyph("LA"), "PNG"),
    "WebP": lambda: encoded(glyph("RGBA"), "WEBP", lossless=True),
    "palette PNG": lambda: paletted("PNG"),
    "GIF": lambda: paletted("GIF"),
    "RGBa": lambda: glyph("RGBA").convert("RGBa"),
    "PA": lambda: glyph("P"),
    "grey that is transparent": lambda: encoded(
        Image.fromarray(np.where(GLYPH, 0, 7).astype(np.uint8)), "PNG", transparency=7
    ),
    "colour that is transparent": lambda: encoded(
        Image.fromarray(np.where(GLYPH, 0, 7).astype(np.uint8)).convert("RGB"), "PNG", transparency=(7, 7, 7)
    ),
}


@pytest.mark.parametrize("name", GLYPHS)
def test_a_black_glyph_on_transparent_ground_stands_on_white(name):
    np.testing.assert_array_equal(np.asarray(read_image(GLYPHS[name]()))[..., 1], np.where(GLYPH, 0, 255))


def test_half_transparent_is_half_white():
    assert to_rgb(Image.new("RGBA", (1, 1), (200, 0, 0, 51))).getpixel((0, 0)) == (244, 204, 204)


@pytest.mark.parametrize("values", [GREY, WIDE, GREY.astype(np.float32) / 255, COLOURS], ids=["L", "I;16", "F", "RGB"])
def test_a_picture_on_its_side_is_upright_in_every_mode(values):
    image = Image.fromarray(np.ascontiguousarray(values[:8]))
    expected = np.asarray(to_rgb(image))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    shown = np.asarray(read_image(encoded(image, "TIFF", exif=exif)))
    np.testing.assert_array_equal(shown, np.rot90(expected, -1))


@pytest.mark.parametrize(
    "array, message",
    [
        (np.float32([[-0.5, 1]]), r"from -0\.5 to 1, neither in \[0, 1\] nor in \[0, 255\]"),
        (np.float32([[0, 256]]), "from 0 to 256"),
        (np.float32([[0, np.nan]]), "from nan to nan"),
        (np.float32([[0, np.inf]]), "to inf"),
        (np.int32([[-1, 3]]), "from -1 to 3, neither of 8 nor of 16 bit"),
        (np.int32([[0, 70000]]), "from 0 to 70000"),
        (np.int16([[-5, 3]]), "from -5 to 3"),
    ],
)
def test_numbers_that_are_no_picture_are_refused_with_their_range(array, message):
    for read in (lambda: from_array(array), lambda: read_image(column_of(array))):
        with pytest.raises(BadRow, match=message):
            read()


@pytest.mark.parametrize(
    "array",
    [np.zeros((4,)), np.zeros((2, 4, 4, 3)), np.zeros((0, 4)), np.zeros((5, 6, 7)), np.zeros((4, 4), complex)],
    ids=lambda array: str((array.shape, array.dtype)),
)
def test_arrays_that_are_no_picture_are_refused(array):
    with pytest.raises(BadRow):
        from_array(array)


TYPES = [("uint8", 255), ("uint16", 65535), ("int64", 255), ("float16", 1), ("float32", 1), ("float64", 255)]


@pytest.mark.parametrize("dtype, top", TYPES)
@pytest.mark.parametrize("first", [False, True], ids=["HWC", "CHW"])
def test_an_array_of_any_type_is_the_picture(dtype, top, first):
    array = (COLOURS / 255 * top).astype(dtype)
    array = np.moveaxis(array, 2, 0) if first else array
    assert np.abs(np.asarray(from_array(array)).astype(int) - COLOURS).max() <= 1
    if dtype != "uint16":
        assert np.abs(np.asarray(from_array(torch.from_numpy(array.copy()))).astype(int) - COLOURS).max() <= 1


def test_an_array_of_two_readings_has_channels_where_its_library_has_them():
    array = np.arange(3 * 5 * 3, dtype=np.uint8).reshape(3, 5, 3)
    np.testing.assert_array_equal(np.asarray(from_array(array)), array)
    np.testing.assert_array_equal(np.asarray(from_array(torch.from_numpy(array))), np.moveaxis(array, 0, 2))


def test_channels_of_an_array_are_grey_alpha_and_colours():
    alpha = np.where(GLYPH, np.uint8(255), np.uint8(0))[..., None]
    for channels in (1, 3):
        ink = np.zeros((16, 16, channels), np.uint8)
        shown = from_array(np.concatenate([ink, alpha], axis=2))
        np.testing.assert_array_equal(np.asarray(shown)[..., 2], np.where(GLYPH, 0, 255))
    np.testing.assert_array_equal(np.asarray(from_array(GREY[..., None]))[..., 0], GREY)
    bright = torch.full((3, 4, 4), 0.5, dtype=torch.bfloat16)
    assert from_array(bright).getpixel((0, 0)) == (128, 128, 128)


def test_float_pictures_of_a_column_are_not_embedded_as_black(tmp_path):
    pytest.importorskip("skimage")
    rows = Dataset.from_dict({"image": [GREY, GREY.T]}, features=Features({"image": ImageFeature()}))
    unit = [(GREY / 255).astype(np.float32), (GREY.T / 255).astype(np.float32)]
    floats = Dataset.from_dict({"image": unit}, features=Features({"image": ImageFeature()}))
    expected, found = (
        np.array(add_embeddings(data, "builtin/hog", cache_dir=str(tmp_path))["embedding"][:])
        for data in (rows, floats)
    )
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(found, expected, atol=0.02)
