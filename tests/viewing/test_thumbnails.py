"""What a person gets to see of a row."""

import base64
import io

import av
import numpy as np
import pytest
import soundfile
from datasets import Audio, ClassLabel, Dataset, Features, Image, List, Value, Video
from PIL import Image as PILImage

from hf_curriculum.data.record import score_features
from hf_curriculum.viewing.thumbnails import RATE, cut, examples, read_row, shown_column


def decoded(uri):
    head, _, data = uri.partition(";base64,")
    return head.removeprefix("data:"), io.BytesIO(base64.b64decode(data))


def of(features, **columns):
    """A dataset; media may be bytes, which no encoder of datasets looks at."""
    plain = {
        name: {"bytes": Value("binary"), "path": Value("string")} if isinstance(feature, Audio) else feature
        for name, feature in features.items()
    }
    return Dataset.from_dict(columns, Features(plain)).cast(Features(features))


def png(width, height, colour=(200, 30, 60)):
    return PILImage.new("RGB", (width, height), colour)


# --- which column shows what a row is -----------------------------------------------------------------------------

MEDIA = Features({"note": Value("string"), "photo": Image(), "sound": Audio(), "n": Value("int64")})


def empty(**scores):
    features = {**MEDIA, "difficulty": Value("float32"), **scores}
    return Dataset.from_dict({name: [None] for name in features}, Features(features))


def test_media_come_before_text():
    assert shown_column(empty(), None) == "photo"
    assert shown_column(empty().remove_columns(["photo", "sound"]), None) == "note"


@pytest.mark.parametrize("column", ["note", "photo", "sound"])
def test_the_column_that_was_embedded_comes_first(column):
    dataset = empty(**score_features({"embedding": {"input_column": column}}))
    assert shown_column(dataset, None) == column


def test_the_column_asked_for_is_taken():
    dataset = empty(**score_features({"embedding": {"input_column": "photo"}}))
    assert shown_column(dataset, "sound") == "sound"


def test_a_column_that_is_gone_since_it_was_embedded_is_not_shown():
    dataset = empty(**score_features({"embedding": {"input_column": "photo"}})).remove_columns("photo")
    assert shown_column(dataset, None) == "sound"


def test_a_dataset_of_numbers_has_nothing_to_show():
    assert shown_column(Dataset.from_dict({"difficulty": [0.1], "n": [3]}), None) is None


@pytest.mark.parametrize(
    ("column", "message"),
    [("photos", "Did you mean 'photo'"), ("n", r"'n' holds .*int64.*cannot be shown.*\['note', 'photo', 'sound'\]")],
)
def test_a_column_that_cannot_be_shown_is_named(column, message):
    with pytest.raises(ValueError, match=message):
        shown_column(empty(), column)


# --- what is shown ------------------------------------------------------------------------------------------------


def test_plain_columns_are_named_classes_first():
    features = {"n": Value("int64"), "word": Value("string"), "kind": ClassLabel(names=["cat", "dog"])}
    dataset = of(features, n=[3, None], word=["red", None], kind=[1, None])
    first, second = examples(dataset, [0, 1], None)
    assert first == {"fields": [["kind", "dog"], ["n", "3"], ["word", "red"]], "name": "dog"}
    assert second == {"fields": [["kind", "None"], ["n", "None"], ["word", "None"]], "name": "None"}


def test_six_fields_and_their_beginnings_are_kept():
    columns = {f"{i}" * 100: ["x" * 10_000_000 if i == 0 else "y"] for i in range(8)}
    [example] = examples(Dataset.from_dict(columns), [0], None)
    assert [len(name) for name, _ in example["fields"]] == [41] * 6
    assert [len(value) for _, value in example["fields"]] == [241, 1, 1, 1, 1, 1]


def test_scores_and_the_shown_column_are_no_fields():
    dataset = Dataset.from_dict({"text": ["a"], "cluster": [1], "difficulty": [0.5], "distance": [1.0], "n": [7]})
    assert next(examples(dataset, [0], "text")) == {"fields": [["n", "7"]], "text": "a"}


def test_rows_come_in_the_order_asked_for():
    dataset = Dataset.from_dict({"text": list("abcdef")}).shuffle(seed=3)
    shown = [example["text"] for example in examples(dataset, [4, 0, 2], "text")]
    assert shown == [dataset[row]["text"] for row in (4, 0, 2)]


def test_a_dataset_that_hands_out_tensors_is_read_as_it_is():
    dataset = Dataset.from_dict({"text": ["a"], "n": [7]}).with_format("torch", columns=["n"])
    assert next(examples(dataset, [0], "text")) == {"fields": [["n", "7"]], "text": "a"}


@pytest.mark.parametrize(("size", "expected"), [((400, 200), (112, 56)), ((8, 8), (8, 8))])
def test_an_image_is_a_thumbnail_and_a_small_one_stays_as_it_is(size, expected):
    [example] = examples(of({"image": Image()}, image=[png(*size)]), [0], "image")
    kind, data = decoded(example["image"])
    image = PILImage.open(data)
    assert (kind, image.format, image.size) == ("image/webp", "WEBP", expected)
    difference = np.abs(np.asarray(image.convert("RGB"), int) - (200, 30, 60)).max()
    assert difference <= (8 if size[0] > 8 else 0)


@pytest.mark.parametrize("feature", [Image(), List(Image())], ids=["image", "frames"])
def test_reading_a_row_gives_its_image(feature):
    frames = [png(8, 8, (i, 0, 0)) for i in range(5)]
    dataset = of({"image": feature}, image=[frames if isinstance(feature, List) else frames[2]])
    assert read_row(dataset, 0, "image").getpixel((0, 0)) == (2, 0, 0)


def test_a_video_file_shows_its_middle(tmp_path):
    path = str(tmp_path / "clip.mp4")
    with av.open(path, "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for shade in range(0, 250, 10):
            frame = av.VideoFrame.from_image(png(32, 32, (shade,) * 3))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    image = read_row(of({"video": Video()}, video=[path]), 0, "video")
    assert image.getpixel((16, 16))[0] == pytest.approx(120, abs=12)


def test_a_video_is_four_frames_side_by_side():
    frames = [png(16, 8, (i * 10, 0, 0)) for i in range(20)]
    [example] = examples(of({"film": List(Image())}, film=[frames]), [0], "film")
    strip = PILImage.open(decoded(example["image"])[1])
    shades = [strip.getpixel((8 + 16 * i, 4))[0] for i in range(4)]
    assert strip.size == (64, 8) and shades == sorted(shades) and shades[3] - shades[0] > 100


def test_the_peaks_follow_the_sound():
    quiet_then_loud = np.r_[np.full(8_000, 0.1), np.full(8_000, 0.4)].astype(np.float32)
    [example] = examples(of({"audio": Audio()}, audio=[sound(quiet_then_loud)]), [0], "audio")
    quiet, loud = np.median(example["peaks"][:45]), np.median(example["peaks"][50:])
    assert loud / quiet == pytest.approx(4, rel=0.1)  # of the loudest of all, a resampler overshoots at the edge


@pytest.fixture
def tone():
    return 0.5 * np.sin(2 * np.pi * 440 * np.arange(5 * 8_000) / 8_000).astype(np.float32)


def sound(samples, rate=8_000):
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="WAV")
    return {"bytes": buffer.getvalue(), "path": None}


def test_a_sound_is_its_first_three_seconds(tone):
    [example] = examples(of({"audio": Audio()}, audio=[sound(tone)]), [0], "audio")
    kind, data = decoded(example["audio"])
    heard, rate = soundfile.read(data)
    assert (kind, rate) == ("audio/mpeg", RATE)
    assert heard.size / rate == pytest.approx(3, abs=0.1)
    assert example["seconds"] == pytest.approx(5, abs=0.01)
    assert len(example["peaks"]) == 96 and min(example["peaks"]) > 95  # a tone is as loud all the time
    spectrum = np.abs(np.fft.rfft(heard))
    assert spectrum.argmax() * rate / heard.size == pytest.approx(440, abs=2)
    assert np.abs(heard).max() == pytest.approx(0.5, abs=0.05)


def test_silent_rows_are_listed_without_their_sound(tone):
    dataset = of({"audio": Audio(), "n": Value("int64")}, audio=[sound(tone)] * 3, n=[0, 1, 2])
    shown = list(examples(dataset, [0, 1, 2], "audio", silent={1}))
    assert ["audio" in example for example in shown] == [True, False, True]
    assert shown[1]["peaks"] == shown[0]["peaks"] and shown[1]["seconds"] == shown[0]["seconds"]
    assert shown[1].keys() == {"fields", "peaks", "seconds"}


def test_only_sound_is_silenced():
    dataset = Dataset.from_dict({"text": ["a", "b"]})
    assert [example["text"] for example in examples(dataset, [0, 1], "text", silent={0, 1})] == ["a", "b"]


@pytest.mark.parametrize("feature", [Image(), Audio(), Video()])
@pytest.mark.parametrize("row", [None, {"bytes": b"no medium at all", "path": None}], ids=["null", "damaged"])
def test_a_damaged_row_says_so_and_the_others_are_shown(feature, row):
    [example] = examples(of({"medium": feature}, medium=[row]), [0], "medium")
    assert example["text"].startswith("Cannot be read: ")
    assert len(example["text"]) > 25


def test_a_null_text_is_an_empty_one():
    assert next(examples(Dataset.from_dict({"text": ["a", None]}), [1], "text"))["text"] == ""


@pytest.mark.parametrize(("text", "expected"), [("abcdef", "abc…"), ("abc", "abc"), ("", "")])
def test_a_text_is_cut_where_it_is_too_long(text, expected):
    assert cut(text, 3) == expected
