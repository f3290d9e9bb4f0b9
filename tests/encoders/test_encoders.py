import io
import shutil

import numpy as np
import pytest
import skimage.feature
import soundfile
import soxr
import torch
from datasets import Audio, Dataset
from embedding import encoder
from PIL import Image as PILImage
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from transformers import (
    AutoFeatureExtractor,
    AutoImageProcessor,
    AutoModel,
    AutoTokenizer,
    BertConfig,
    BertModel,
    BloomConfig,
    BloomModel,
    GPT2Config,
    GPT2Model,
    ResNetConfig,
    ResNetModel,
)

from hf_curriculum.data import BadRow
from hf_curriculum.data.media import read_audio
from hf_curriculum.encoders.base import pool

MODALITIES = ("image", "audio", "text")
MODALITY = pytest.mark.parametrize("modality", MODALITIES)
TEXTS = [
    "Prices rose.",
    "Stocks fell on Tuesday after the central bank raised its rate for the third time this year, analysts said.",
    "a",
    "A late goal decided the match in front of a full stadium.",
    "Café, naïve, 東京",
]


# --- references: the transformers model called by hand, one row at a time, so that nothing is padded ---------------

POOL = {
    "cls": lambda hidden: hidden[0],
    "mean": lambda hidden: hidden.mean(0),
    "max": lambda hidden: hidden.max(0).values,
    "last": lambda hidden: hidden[-1],
}
POOLING = pytest.mark.parametrize("pooling", POOL)


def inputs_by_hand(modality, path, rows):
    if modality == "image":
        processor = AutoImageProcessor.from_pretrained(path)
        return [processor(images=row.convert("RGB"), return_tensors="pt") for row in rows]
    if modality == "text":
        tokenizer = AutoTokenizer.from_pretrained(path)
        return [tokenizer(row, return_tensors="pt") for row in rows]
    extractor = AutoFeatureExtractor.from_pretrained(path)
    clips = [soundfile.read(io.BytesIO(row["bytes"]), dtype="float32") for row in rows]
    resampled = [soxr.resample(samples, rate, 16_000) for samples, rate in clips]
    return [extractor(samples, sampling_rate=16_000, return_tensors="pt") for samples in resampled]


@torch.no_grad()
def by_hand(modality, path, rows, pooling):
    model = AutoModel.from_pretrained(path).eval()
    hidden = [model(**inputs).last_hidden_state[0] for inputs in inputs_by_hand(modality, path, rows)]
    return np.stack([POOL[pooling](states).numpy() for states in hidden])


# --- what is compared with them -----------------------------------------------------------------------------------


@pytest.fixture
def given(request, modality):
    """Path of the tiny model of a modality, its dataset, and 12 raw rows."""
    model, data = {
        "image": ("tiny_dinov2", "digits"),
        "audio": ("tiny_wav2vec2", "clips"),
        "text": ("tiny_bert", "sentences"),
    }[modality]
    dataset = request.getfixturevalue(data)
    column = dataset.column_names[0]
    undecoded = dataset.cast_column(column, Audio(decode=False)) if modality == "audio" else dataset
    return request.getfixturevalue(model), dataset, undecoded[:12][column]


def assert_equal(vectors, expected, tolerance=1e-5):
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected, rtol=0, atol=tolerance)
    assert np.std(expected, axis=0).max() > 100 * tolerance  # rows that are all alike would prove nothing


# --- models of the Hub --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("modality, pooling", [("image", "cls"), ("audio", "mean"), ("text", "mean")])
def test_embedding_is_the_model_called_by_hand(given, modality, pooling):
    path, dataset, rows = given
    assert_equal(encoder(path, dataset)(rows, 5), by_hand(modality, path, rows, pooling))


def test_minilm_is_the_masked_mean_of_the_model_called_by_hand(minilm):
    dataset = Dataset.from_dict({"text": TEXTS})
    expected = by_hand("text", minilm, TEXTS, "mean")
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)  # as its modules.json says
    assert_equal(encoder(minilm, dataset)(TEXTS, 64), expected)
    assert_equal(encoder(minilm, dataset, pooling="max")(TEXTS, 64), by_hand("text", minilm, TEXTS, "max"))


@MODALITY
@POOLING
def test_every_pooling_is_the_one_by_hand(given, modality, pooling):
    path, dataset, rows = given
    embed = encoder(path, dataset, pooling=pooling)
    assert_equal(embed(rows, 12), by_hand(modality, path, rows, pooling))
    assert embed.record["pooling"] == pooling


@pytest.mark.parametrize(
    "pooling, expected",
    [("cls", [[-1, -40], [-7, 5]]), ("mean", [[-2, -30], [-7, 5]]), ("max", [[-1, -20], [-7, 5]])]
    + [("last", [[-3, -20], [-7, 5]])],
)
def test_pooling_never_counts_padding(pooling, expected):
    hidden = torch.tensor([[[-1, -40], [-3, -20], [99, 99]], [[-7, 5], [0, 99], [99, -99]]], dtype=torch.float32)
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    assert pool(hidden, mask, pooling).tolist() == expected


@MODALITY
@POOLING
def test_embedding_does_not_depend_on_the_batch(given, modality, pooling):
    path, dataset, rows = given
    embed = encoder(path, dataset, pooling=pooling)
    expected = embed(rows, 64)
    for batch_size in (1, 5):
        assert_equal(embed(rows, batch_size), expected, 1e-6)
    assert_equal(embed(rows[::-1], 5)[::-1], expected, 1e-6)
    assert_equal(embed(rows[3:5], 64), expected[3:5], 1e-6)


def test_wav2vec2_here_has_the_group_norm_that_padding_would_change(tiny_wav2vec2):
    assert AutoModel.from_pretrained(tiny_wav2vec2).config.feat_extract_norm == "group"


def test_texts_of_one_batch_differ_in_length(sentences):
    assert len({len(text.split()) for text in sentences[:12]["text"]}) > 5


# --- images -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "mode, convert",
    [
        ("L", lambda image: image),
        ("LA", lambda image: image.convert("LA")),
        ("RGBA", lambda image: image.convert("RGBA")),
        ("P", lambda image: image.convert("RGB").quantize(256)),
        ("1", lambda image: image.convert("1", dither=PILImage.Dither.NONE)),
    ],
)
def test_images_of_any_mode_count_as_their_rgb_picture(digits, tiny_dinov2, mode, convert):
    images = [image.resize((28, 28), PILImage.Resampling.NEAREST) for image in digits[:6]["image"]]
    if mode == "1":
        images = [image.point(lambda value: 255 * (value > 99)) for image in images]
    converted = [convert(image) for image in images]
    assert {image.mode for image in converted} == {mode}
    rgb = [PILImage.fromarray(np.stack([np.asarray(image)] * 3, axis=2)) for image in images]
    for model_id, tolerance in ((tiny_dinov2, 1e-5), ("builtin/hog", 1e-4)):
        embed = encoder(model_id, digits)
        assert_equal(embed(converted, 4), embed(rgb, 4), tolerance)


def resnet(path, tiny_dinov2):
    torch.manual_seed(0)
    ResNetModel(ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])).save_pretrained(path)
    shutil.copy(f"{tiny_dinov2}/preprocessor_config.json", path)
    return str(path)


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_feature_maps_are_pooled_over_their_positions(digits, tiny_dinov2, tmp_path, pooling):
    path, images = resnet(tmp_path, tiny_dinov2), digits[:5]["image"]
    model, processor = AutoModel.from_pretrained(path).eval(), AutoImageProcessor.from_pretrained(path)
    with torch.no_grad():
        maps = model(**processor(images=[i.convert("RGB") for i in images], return_tensors="pt")).last_hidden_state
    assert maps.shape == (5, 16, 4, 4)
    expected = maps.mean((2, 3)) if pooling == "mean" else maps.amax((2, 3))
    assert_equal(encoder(path, digits, pooling=pooling)(images, 2), expected.numpy())


@pytest.mark.parametrize("pooling", ["cls", "last"])
def test_feature_maps_have_no_position_that_stands_for_the_image(digits, tiny_dinov2, tmp_path, pooling):
    embed = encoder(resnet(tmp_path, tiny_dinov2), digits, pooling=pooling)
    with pytest.raises(ValueError, match=r"feature maps of shape \(16, 4, 4\).* Pass pooling='mean' or 'max'"):
        embed(digits[:2]["image"], 2)


# --- audio --------------------------------------------------------------------------------------------------------


def wav(samples, rate):
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="WAV", subtype="FLOAT")
    return {"bytes": buffer.getvalue(), "path": None}


def tone(frequency, rate, seconds=0.5, loudness=0.5):
    return loudness * np.sin(2 * np.pi * frequency * np.arange(int(rate * seconds)) / rate)


@pytest.mark.parametrize("rate", [8_000, 22_050, 48_000])
def test_audio_of_another_rate_is_resampled(rate):
    samples = read_audio(wav(tone(440, rate), rate), 16_000)
    assert samples.dtype == np.float32 and samples.shape == (8_000,)
    np.testing.assert_allclose(samples[1000:-1000], tone(440, 16_000)[1000:-1000], atol=1e-3)  # the ends ring


def test_audio_of_the_rate_wanted_is_read_as_it_is():
    samples = np.random.default_rng(0).normal(0, 0.1, 1000).astype(np.float32)
    np.testing.assert_array_equal(read_audio(wav(samples, 16_000), 16_000), samples)


def test_stereo_is_mixed_to_one_channel():
    left, right = tone(300, 16_000), tone(500, 16_000)
    mixed = read_audio(wav(np.stack([left, right], axis=1), 16_000), 16_000)
    np.testing.assert_allclose(mixed, (left + right) / 2, atol=1e-6)


def test_audio_is_read_from_its_path_where_it_has_no_bytes(tmp_path):
    soundfile.write(tmp_path / "tone.flac", tone(440, 16_000), 16_000)
    samples = read_audio({"bytes": None, "path": str(tmp_path / "tone.flac")}, 16_000)
    np.testing.assert_allclose(samples, tone(440, 16_000), atol=1e-4)


@pytest.mark.parametrize("model", ["tiny_wav2vec2", "builtin/logmel"])
def test_embedding_of_a_tone_depends_on_neither_rate_nor_channels(request, clips, model):
    path = request.getfixturevalue(model) if model.startswith("tiny") else model
    embed = encoder(path, clips)
    reference, other = embed([wav(tone(f, 16_000, loudness=0.3), 16_000) for f in (440, 900)], 1)
    resampled = embed([wav(tone(440, 48_000, loudness=0.3), 48_000)], 1)[0]
    stereo = embed([wav(np.stack([tone(440, 16_000, loudness=0.3)] * 2, axis=1), 16_000)], 1)[0]
    np.testing.assert_allclose(stereo, reference, atol=1e-5)
    # The ends of a resampled tone ring, and log-mel sees its silent bands: near, where another tone is far.
    assert np.abs(resampled - reference).mean() < 0.2 * np.abs(other - reference).mean()


@MODALITY
def test_checkpoints_in_half_precision_embed_as_the_full_one_does_roughly(given, modality, tmp_path):
    path, dataset, rows = given
    shutil.copytree(path, tmp_path, dirs_exist_ok=True)
    AutoModel.from_pretrained(path).to(torch.bfloat16).save_pretrained(tmp_path)
    vectors = encoder(str(tmp_path), dataset)(rows, 5)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, encoder(path, dataset)(rows, 5), atol=0.2)


def test_a_convolutional_checkpoint_in_half_precision_embeds_as_the_full_one_does_roughly(
    digits, tiny_dinov2, tmp_path
):
    images, full = digits[:5]["image"], resnet(tmp_path / "full", tiny_dinov2)
    shutil.copytree(full, tmp_path / "half")
    AutoModel.from_pretrained(full).to(torch.bfloat16).save_pretrained(tmp_path / "half")
    half = encoder(str(tmp_path / "half"), digits, pooling="mean")(images, 5)
    np.testing.assert_allclose(half, encoder(full, digits, pooling="mean")(images, 5), atol=0.2)


# --- texts --------------------------------------------------------------------------------------------------------


def save_with_tokenizer(model, path, tiny_bert, **settings):
    """Save a model of the tiny BERT's vocabulary with its tokenizer, changed by some settings."""
    model.save_pretrained(path)
    AutoTokenizer.from_pretrained(tiny_bert, **settings).save_pretrained(path)
    return str(path)


def small_bert(**options):
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    return BertModel(BertConfig(vocab_size=10, **sizes, **options))


def test_long_text_is_cut_where_the_tokenizer_says(sentences, tiny_bert):
    words = "red green blue cat dog bird".split() * 40
    long, cut, shorter = encoder(tiny_bert, sentences)([" ".join(words[:n]) for n in (240, 64, 63)], 3)
    np.testing.assert_allclose(long, cut, atol=1e-6)
    assert np.abs(long - shorter).max() > 1e-4


def test_long_text_is_cut_where_the_positions_of_the_model_end(sentences, tiny_bert, tmp_path):
    path = save_with_tokenizer(small_bert(max_position_embeddings=12), tmp_path, tiny_bert)
    words = "red green blue cat dog bird".split() * 40
    long, cut, shorter = encoder(path, sentences)([" ".join(words[:n]) for n in (240, 12, 11)], 3)
    np.testing.assert_allclose(long, cut, atol=1e-6)
    assert np.abs(long - shorter).max() > 1e-4


def test_text_is_not_cut_where_neither_has_a_limit(sentences, tiny_bert, tmp_path):
    torch.manual_seed(0)
    model = BloomModel(BloomConfig(vocab_size=10, hidden_size=16, n_layer=1, n_head=2))
    settings = {"model_max_length": int(1e30), "model_input_names": ["input_ids", "attention_mask"]}
    path = save_with_tokenizer(model, tmp_path, tiny_bert, **settings)
    texts = ["red cat " * 100, "green dog"]
    assert_equal(encoder(path, sentences, pooling="mean")(texts, 2), by_hand("text", path, texts, "mean"))


@POOLING
def test_a_tokenizer_that_pads_on_the_left_leaves_no_trace_of_the_batch(sentences, tiny_bert, tmp_path, pooling):
    path = save_with_tokenizer(small_bert(), tmp_path, tiny_bert, padding_side="left")
    assert AutoTokenizer.from_pretrained(path).padding_side == "left"
    texts = sentences[:9]["text"]
    assert_equal(encoder(path, sentences, pooling=pooling)(texts, 9), by_hand("text", path, texts, pooling))


@POOLING
def test_a_tokenizer_without_padding_token_pads_with_its_end_token(sentences, tiny_bert, tmp_path, pooling):
    torch.manual_seed(0)
    model = GPT2Model(GPT2Config(vocab_size=10, n_embd=16, n_layer=1, n_head=2, n_positions=32))
    path = save_with_tokenizer(model, tmp_path, tiny_bert, pad_token=None, eos_token="bird")
    assert AutoTokenizer.from_pretrained(path).pad_token is None
    texts = sentences[:9]["text"]
    assert_equal(encoder(path, sentences, pooling=pooling)(texts, 9), by_hand("text", path, texts, pooling))


# --- encoders of your own -----------------------------------------------------------------------------------------


class Lengths(torch.nn.Module):
    """Number of characters and of words, doubled while training."""

    def forward(self, rows):
        counts = torch.tensor([[float(len(row)), float(len(row.split()))] for row in rows])
        return counts * 2 if self.training else counts


class Encodes:
    """Has ``encode``, as a SentenceTransformer; cannot be called."""

    def encode(self, rows):
        return counted(rows)


def counted(rows):
    return np.array([[len(row), len(row.split())] for row in rows])


OWN = {
    "module": Lengths().train(),
    "encode": Encodes(),
    "numpy": counted,
    "list": lambda rows: counted(rows).tolist(),
    "torch": lambda rows: torch.from_numpy(counted(rows)),
    "bfloat16": lambda rows: torch.from_numpy(counted(rows)).to(torch.bfloat16),
    "gradient": lambda rows: torch.nn.Parameter(torch.from_numpy(counted(rows)).float()),
}


@pytest.mark.parametrize("own", OWN)
@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_what_embeds_rows_may_be_a_module_a_function_or_have_encode(sentences, own, batch_size):
    rows = sentences["text"][:]
    vectors = encoder(OWN[own], sentences)(rows, batch_size)
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, [[len(row), row.count(" ") + 1] for row in rows])


def test_a_function_gets_at_most_batch_size_rows_at_a_time(sentences):
    seen = []

    def embed(rows):
        seen.append(len(rows))
        return counted(rows)

    encoder(embed, sentences)(sentences[:20]["text"], 8)
    assert seen == [8, 8, 4]


@pytest.mark.parametrize(
    "embed, got",
    [
        (lambda rows: np.zeros(len(rows)), r"\(3,\)"),
        (lambda rows: np.zeros((len(rows), 2, 2)), r"\(3, 2, 2\)"),
        (lambda rows: np.zeros((len(rows) - 1, 2)), r"\(2, 2\)"),
        (lambda rows: torch.zeros(1, 5), r"\(1, 5\)"),
        (lambda rows: 0.5, r"\(\)"),
        (lambda rows: None, r"\(\)"),
    ],
)
def test_an_array_of_the_wrong_shape_is_refused(sentences, embed, got):
    with pytest.raises(ValueError, match=rf"<lambda> must turn 3 rows into .*shape \(3, dim\), got shape {got}"):
        encoder(embed, sentences)(["a", "b", "c"], 8)


@pytest.mark.parametrize("own, name", [("module", "Lengths"), ("encode", "Encodes"), ("numpy", "counted")])
def test_an_encoder_of_your_own_is_recorded_by_its_name(sentences, own, name):
    assert encoder(OWN[own], sentences).record == {"model_id": name}


# --- built-in descriptors -----------------------------------------------------------------------------------------


def test_hog_is_that_of_skimage():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 64, 64), dtype=np.uint8)
    expected = [
        skimage.feature.hog(image / 255, orientations=9, pixels_per_cell=(16, 16), cells_per_block=(2, 2))
        for image in pixels
    ]
    images = [PILImage.fromarray(image) for image in pixels]
    embed = encoder("builtin/hog", Dataset.from_dict({"image": images}))
    assert_equal(embed(images, 2), expected)
    assert np.shape(expected) == (5, 324)


def test_an_image_of_one_grey_has_no_hog(digits):
    with pytest.raises(BadRow, match="of one grey"):
        encoder("builtin/hog", digits)([PILImage.new("L", (9, 9), 77)], 1)


@pytest.mark.parametrize("size", [(2, 2), (8, 8), (300, 40)])
def test_hog_has_one_length_for_images_of_any_size(digits, size):
    pixels = np.random.default_rng(0).integers(0, 256, size[::-1], dtype=np.uint8)
    vectors = encoder("builtin/hog", digits)([PILImage.fromarray(pixels)], 1)
    assert vectors.shape == (1, 324)
    assert np.all(np.isfinite(vectors))


def test_hog_tells_upright_from_lying_edges(digits):
    stripes = np.tile(np.repeat([0, 255], 8), 4).astype(np.uint8)
    upright = PILImage.fromarray(np.tile(stripes, (64, 1)))
    vectors = encoder("builtin/hog", digits)([upright, upright.transpose(PILImage.Transpose.ROTATE_90)], 2)
    strongest = vectors.reshape(2, -1, 9).sum(1).argmax(1)
    assert strongest.tolist() == [0, 4]  # gradients along x, then along y: nine bins of 20 degrees


def test_logmel_is_strongest_at_the_frequency_of_a_tone(clips):
    mel = 2595 * np.log10(1 + np.array([0, 200, 1000, 3000, 8000]) / 700)
    expected = mel[1:-1] / mel[-1] * 65 - 1  # 64 bands, evenly spaced on the mel scale
    vectors = encoder("builtin/logmel", clips)([wav(tone(f, 16_000), 16_000) for f in (200, 1000, 3000)], 3)
    assert vectors.shape == (3, 128)
    np.testing.assert_allclose(vectors[:, :64].argmax(1), expected, atol=1)


def test_logmel_of_a_clip_ten_times_as_loud_is_two_higher(clips):
    noise = np.random.default_rng(0).normal(0, 0.05, 8000)
    quiet, loud = encoder("builtin/logmel", clips)([wav(noise, 16_000), wav(10 * noise, 16_000)], 2)
    np.testing.assert_allclose(loud[:64], quiet[:64] + 2, atol=1e-4)  # log10 of the power
    np.testing.assert_allclose(loud[64:], quiet[64:], atol=1e-4)
    assert quiet[64:].min() > 0.1


@pytest.mark.parametrize("samples", [1, 10, 399, 400, 401])
@pytest.mark.parametrize("rate", [8_000, 16_000])
def test_logmel_of_a_very_short_clip_is_finite(clips, samples, rate):
    vectors = encoder("builtin/logmel", clips)([wav(np.full(samples, 0.5), rate)], 1)
    assert vectors.shape == (1, 128)
    assert np.all(np.isfinite(vectors))


def test_silence_has_no_logmel_and_faint_noise_has_a_finite_one(clips):
    embed = encoder("builtin/logmel", clips)
    with pytest.raises(BadRow, match="silen"):
        embed([wav(np.zeros(8000), 16_000)], 1)
    faint = np.random.default_rng(0).normal(0, 1e-3, 8000)
    assert np.all(np.isfinite(embed([wav(faint, 16_000)], 1)))


def test_tfidf_is_the_pipeline_of_scikit_learn():
    rng = np.random.default_rng(0)
    words = np.array([f"word{i}" for i in range(400)])
    texts = [" ".join(rng.choice(words, rng.integers(1, 40))) for _ in range(300)]
    counts = TfidfVectorizer(sublinear_tf=True, max_features=50_000, dtype=np.float32).fit_transform(texts)
    expected = TruncatedSVD(128, random_state=0).fit_transform(counts)
    vectors = encoder("builtin/tfidf", Dataset.from_dict({"text": texts}))(texts, 64)
    assert vectors.shape == (300, 128)
    # scikit-learn fits and transforms in one by U @ S, and transforms alone by X @ V: equal but for rounding
    assert_equal(vectors, expected, 1e-4)


@pytest.mark.parametrize("texts, dim", [(["red cat", "green cat", "blue dog"], 3), (["red", "cat", "red red cat"], 2)])
def test_tfidf_has_no_more_dimensions_than_words_or_texts(texts, dim):
    vectors = encoder("builtin/tfidf", Dataset.from_dict({"text": texts}))(texts, 64)
    assert vectors.shape == (len(texts), dim)
    assert np.linalg.matrix_rank(vectors) == dim


def test_tfidf_does_not_see_words_that_it_was_not_fitted_on(sentences):
    embed = encoder("builtin/tfidf", sentences)
    vectors = embed(["red zebra", "red"], 64)
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)
    assert np.linalg.norm(vectors[1]) > 0.5
    with pytest.raises(BadRow, match="no word that builtin/tfidf knows"):
        embed(["zebra"], 64)


@pytest.mark.parametrize("texts", [["", ""], [" . ", "!"], ["a", "b c"]])
def test_tfidf_without_words_says_so(texts):
    with pytest.raises(ValueError, match="builtin/tfidf found no words in the texts: empty vocabulary"):
        encoder("builtin/tfidf", Dataset.from_dict({"text": texts}))


def test_tfidf_with_one_word_says_so():
    with pytest.raises(ValueError, match="no word but 'red' in the texts"):
        encoder("builtin/tfidf", Dataset.from_dict({"text": ["red", "red red", "Red."]}))


@pytest.mark.parametrize(
    "model_id, data", [("builtin/hog", "digits"), ("builtin/logmel", "clips"), ("builtin/tfidf", "sentences")]
)
def test_built_in_descriptors_are_deterministic_and_finite(request, model_id, data):
    dataset = request.getfixturevalue(data)
    column = dataset.column_names[0]
    rows = (dataset.cast_column(column, Audio(decode=False)) if data == "clips" else dataset)[:][column]
    first, second = encoder(model_id, dataset)(rows, 64), encoder(model_id, dataset)(rows, 7)
    assert first.dtype == np.float32 and np.all(np.isfinite(first))
    np.testing.assert_array_equal(first, second)
    assert np.unique(first.round(4), axis=0).shape[0] > 0.7 * len(rows)  # rows differ


# --- code from a model's repository -------------------------------------------------------------------------------

REMOTE_CODE = """
import torch
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

class OneHotConfig(PretrainedConfig):
    model_type = "one_hot"
    hidden_size = 10

class OneHotModel(PreTrainedModel):
    config_class = OneHotConfig

    def __init__(self, config):
        super().__init__(config)
        self.scale = torch.nn.Parameter(torch.ones(1))
        self.post_init()

    def _init_weights(self, module):
        pass

    def forward(self, input_ids, attention_mask=None, **kwargs):
        return BaseModelOutput(self.scale * torch.nn.functional.one_hot(input_ids, 10).float())
"""


@pytest.fixture
def one_hot(tmp_path, tiny_bert):
    """A model whose code is in its own folder."""
    path = tmp_path / "one_hot_model"
    shutil.copytree(tiny_bert, path)
    (path / "one_hot.py").write_text(REMOTE_CODE)
    (path / "config.json").write_text(
        '{"model_type": "one_hot", "auto_map": {"AutoConfig": "one_hot.OneHotConfig", "AutoModel": '
        '"one_hot.OneHotModel"}}'
    )
    (path / "model.safetensors").unlink()
    torch.save({"scale": torch.ones(1)}, path / "pytorch_model.bin")
    return str(path)


def test_code_of_a_repository_runs_if_it_is_trusted_and_told_its_modality(sentences, one_hot):
    with pytest.raises(ValueError, match="trust_remote_code=True"):
        encoder(one_hot, sentences, modality="text")
    with pytest.raises(ValueError, match=r"Cannot tell what .* \(one_hot\) embeds\. Pass modality=.*'image', 'audio'"):
        encoder(one_hot, sentences, trust_remote_code=True)
    vectors = encoder(one_hot, sentences, modality="text", trust_remote_code=True)(["red red cat", "dog"], 2)
    expected = np.zeros((2, 10))
    expected[0, [2, 5]], expected[1, 6] = [2 / 3, 1 / 3], 1
    assert_equal(vectors, expected)
