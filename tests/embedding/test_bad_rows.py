"""A row that cannot be embedded is named where it stops the call, or is left without scores and trained on last."""

import io

import numpy as np
import pytest
import soundfile
import torch
from datasets import Dataset, DatasetDict, Features, Value, concatenate_datasets
from embedding import vectors_of
from PIL import Image
from worker_training import stream, train

from hf_curriculum import add_difficulty, add_embeddings

pytestmark = pytest.mark.costly

SCORES = ("cluster", "distance", "difficulty")


def half_jpeg():
    """The first half of a photograph."""
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()[: buffer.tell() // 2]


def wav(samples, rate=8000, size=None):
    """The first bytes of a clip."""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.asarray(samples, np.float32), rate, format="WAV", subtype="FLOAT")
    return buffer.getvalue()[:size]


def media(content=None, path=None):
    return {"bytes": content, "path": path}


BAD = {  # column, value, cause
    "truncated JPEG": ("image", media(half_jpeg()), "OSError: image file is truncated"),
    "image of no bytes": ("image", media(b""), "UnidentifiedImageError: cannot identify image file"),
    "image that is none": ("image", media(b"a cat"), "UnidentifiedImageError: cannot identify image file"),
    "missing image": ("image", media(path="/gone/cat.jpg"), "FileNotFoundError: .*'/gone/cat.jpg'"),
    "null image": ("image", None, "the image is null"),
    "clip without samples": ("audio", media(wav([])), "the audio has no samples"),
    "NaN in a clip": ("audio", media(wav([0, np.nan, 0])), "the audio has a NaN or infinite sample"),
    "truncated clip": ("audio", media(wav(np.zeros(900), size=30)), "LibsndfileError: Error opening"),
    "clip of no bytes": ("audio", media(b""), "LibsndfileError: Error opening"),
    "missing clip": ("audio", media(path="/gone/cat.wav"), "LibsndfileError: Error opening '/gone/cat.wav'"),
    "null clip": ("audio", None, "the audio is null"),
    "null text": ("text", None, "the text is null"),
    "empty text": ("text", "", "the text is empty"),
    "white space": ("text", " \n\t ", "the text is empty"),
}
MODELS = {  # its dataset, column
    "tiny_dinov2": ("digits", "image"),
    "builtin/hog": ("digits", "image"),
    "tiny_wav2vec2": ("clips", "audio"),
    "builtin/logmel": ("clips", "audio"),
    "tiny_bert": ("sentences", "text"),
    "builtin/tfidf": ("sentences", "text"),
}


def with_rows(good, column, values, positions):
    """The good rows, with these values of the column in between, so that they stand at these positions."""
    good = good.select_columns([column])
    files = Features({column: {"bytes": Value("binary"), "path": Value("string")}})
    bad = Dataset.from_dict({column: values}, features=good.features if column == "text" else files)
    order = list(range(len(good)))
    for i, position in enumerate(positions):
        order.insert(position, len(good) + i)
    return concatenate_datasets([good, bad.cast(good.features)]).select(order)


@pytest.fixture
def spoiled(request, model):
    """Path of a model, its good rows, these with each kind of bad row among them, positions of the bad rows."""
    data, column = MODELS[model]
    good = request.getfixturevalue(data).select(range(20))
    values = [value for name, value, _ in BAD.values() if name == column]
    positions = [0, 1, *range(7, 2 * len(values) + 3, 2)][: len(values)]
    path = model if model.startswith("builtin/") else request.getfixturevalue(model)
    return path, good.select_columns([column]), with_rows(good, column, values, positions), positions


CASES = [(model, kind) for model, (_, column) in MODELS.items() for kind in BAD if BAD[kind][0] == column]


@pytest.mark.parametrize("position", [0, 11])
@pytest.mark.parametrize("model, kind", CASES)
def test_a_bad_row_stops_the_call_and_is_named(request, model, kind, position, tmp_path):
    data, column = MODELS[model]
    _, value, cause = BAD[kind]
    rows = with_rows(request.getfixturevalue(data).select(range(20)), column, [value], [position])
    path = model if model.startswith("builtin/") else request.getfixturevalue(model)
    named = rf"^Row {position} of column '{column}' cannot be embedded: {cause}.*or pass on_error='null' to leave"
    with pytest.raises(ValueError, match=named):
        add_embeddings(rows, path, cache_dir=str(tmp_path))


@pytest.mark.parametrize("model", MODELS)
def test_bad_rows_are_left_without_scores_and_the_others_score_as_if_they_were_not_there(spoiled, tmp_path, caplog):
    path, good, rows, positions = spoiled
    options = {"n_clusters": 3, "cache_dir": str(tmp_path)}
    scored = add_difficulty(rows, path, on_error="null", **options)
    said = caplog.text
    expected = add_difficulty(good, path, **options)
    others = [i for i in range(len(rows)) if i not in positions]
    for column in ("embedding", *SCORES):
        values = scored[column][:]
        assert [i for i in range(len(rows)) if values[i] is None] == positions
        np.testing.assert_allclose([values[i] for i in others], expected[column][:], atol=1e-5)
    assert f"{len(positions)} of {len(rows)} rows of column" in said
    assert "have no embedding; the first is row 0: " in said
    assert f"{len(positions)} of {len(rows)} rows have no embedding, and so no difficulty" in said


@pytest.mark.parametrize("model", MODELS)
def test_a_call_that_raises_names_the_row_that_an_earlier_one_left_out(spoiled, tmp_path, model):
    path, good, rows, positions = spoiled
    rest = rows.select(range(positions[1] + 1, len(rows)))  # now the first row is good
    options = {"cache_dir": str(tmp_path), "shard_size": 4}
    add_embeddings(rest, path, on_error="null", **options)
    with pytest.raises(ValueError, match=rf"^Row {positions[2] - 2} of column .*: .*on_error='null'"):
        add_embeddings(rest, path, **options)


@pytest.mark.parametrize("on_error, message", [("null", r"^No row of column .*; row 0: "), ("raise", "^Row 0 of col")])
@pytest.mark.parametrize("model", MODELS)
def test_rows_that_are_all_bad_are_an_error(spoiled, on_error, message, tmp_path):
    path, _, rows, positions = spoiled
    if path == "builtin/tfidf":
        message = "builtin/tfidf found no words"
    with pytest.raises(ValueError, match=message):
        add_embeddings(rows.select(positions), path, on_error=on_error, cache_dir=str(tmp_path))


# --- transforms and models ----------------------------------------------------------------------------------------

MENDED = []  # in this module, so that it is no part of what datasets hashes


def numbers(n):
    return Dataset.from_dict({"row": range(n), "text": [str(i) for i in range(n)]})


def transform(row):
    if int(row) % 10 == 7 and row not in MENDED:
        raise ArithmeticError(f"{row} has no number")
    return torch.tensor([float(row), 1.0])


def careless(row):
    values = [float(row), 1.0]
    return values if int(row) % 10 == 7 else torch.tensor(values)  # a list cannot be stacked


class Breaks(torch.nn.Module):
    """Gives what is no number for some rows."""

    def __init__(self, rows, value=torch.nan):
        super().__init__()
        self.register_buffer("rows", torch.tensor(rows))
        self.value = value

    def forward(self, inputs):
        return inputs.masked_fill(torch.isin(inputs[:, :1], self.rows), self.value)


def whole(row):
    return torch.tensor([float(row), 1.0])


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize(
    "model, function, bad, cause",
    [
        (Breaks([]), transform, [7, 17, 27], "ArithmeticError: 7 has no number"),
        (Breaks([0.0]), whole, [0], "the model returned a NaN or infinite number"),
        (Breaks([3.0, 12.0], torch.inf), whole, [3, 12], "the model returned a NaN or infinite number"),
        (Breaks([20.0]), transform, [7, 17, 20, 27], "ArithmeticError: 7 has no number"),
        (Breaks([]), careless, [7, 17, 27], "TypeError: expected Tensor as element 0 in argument 0, but got list"),
    ],
)
def test_rows_of_a_module_are_named_or_left_out(tmp_path, caplog, model, function, bad, cause, num_workers):
    options = {
        "transform": function,
        "input_column": "text",
        "batch_size": 6,
        "shard_size": 12,
        "num_workers": num_workers,
        "cache_dir": str(tmp_path),
    }
    for _ in range(2):
        with pytest.raises(ValueError, match=f"^Row {bad[0]} of column 'text' cannot be embedded: {cause}"):
            add_embeddings(numbers(30), model, **options)
        caplog.clear()
        embedded = add_embeddings(numbers(30), model, on_error="null", **options)
        said = f"{len(bad)} of 30 rows of column 'text' have no embedding; the first is row {bad[0]}: {cause}."
        assert said in caplog.text
        vectors = embedded["embedding"][:]
        assert vectors == [None if i in bad else [i, 1] for i in range(30)]


def test_a_row_that_was_mended_is_embedded_by_the_next_call_that_raises(tmp_path):
    options = {"transform": transform, "input_column": "text", "shard_size": 5, "cache_dir": str(tmp_path)}
    add_embeddings(numbers(20), Breaks([]), on_error="null", **options)
    MENDED.extend(["7", "17"])
    try:
        embedded = add_embeddings(numbers(20), Breaks([]), **options)
    finally:
        MENDED.clear()
    assert embedded["embedding"][:] == [[i, 1] for i in range(20)]
    assert add_embeddings(numbers(20), Breaks([]), **options)["embedding"][:] == embedded["embedding"][:]


def test_a_model_that_fails_on_every_row_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="^No row of column 'text' can be embedded; row 0: the model returned a NaN"):
        add_embeddings(
            numbers(4),
            Breaks([0.0, 1, 2, 3]),
            transform=whole,
            input_column="text",
            on_error="null",
            cache_dir=str(tmp_path),
        )


def test_the_bad_rows_of_each_split_are_counted(tmp_path, caplog):
    splits = DatasetDict({"train": numbers(30), "test": numbers(18)})
    scored = add_difficulty(
        splits,
        Breaks([]),
        transform=transform,
        input_column="text",
        on_error="null",
        n_clusters=2,
        cache_dir=str(tmp_path),
    )
    for name, rows in (("train", 30), ("test", 18)):
        null = [i for i, value in enumerate(scored[name]["difficulty"]) if value is None]
        assert null == list(range(7, rows, 10))
        assert f"{len(null)} of {rows} rows of column 'text'" in caplog.text


def test_ten_megabytes_of_text_are_cut_and_change_no_other_row(sentences, tiny_bert, tmp_path, caplog):
    for word in ("red cat ", "redcat"):
        long = with_rows(sentences, "text", [word * (10_000_000 // len(word))], [5])
        embedded = vectors_of(add_embeddings(long, tiny_bert, cache_dir=str(tmp_path)))
        expected = vectors_of(add_embeddings(sentences, tiny_bert, cache_dir=str(tmp_path)))
        np.testing.assert_allclose(np.delete(embedded, 5, 0), expected, atol=1e-5)
        assert np.isfinite(embedded).all()
    assert "1 of 61 rows (1.6 %) are longer than the model takes" in caplog.text


# --- training -----------------------------------------------------------------------------------------------------


def test_rows_without_difficulty_are_trained_on_after_the_warm_up(tmp_path):
    scored = add_difficulty(
        numbers(100),
        Breaks([3.0]),
        transform=transform,
        input_column="text",
        on_error="null",
        n_clusters=3,
        cache_dir=str(tmp_path),
    )
    bad = {3, *range(7, 100, 10)}
    train(tmp_path, dataset=scored, max_steps=40)  # 20 of them warm-up
    steps = stream(tmp_path)
    assert not bad & {row for step in range(20) for row in steps[step]}
    assert bad < {row for step in range(20, 40) for row in steps[step]}
