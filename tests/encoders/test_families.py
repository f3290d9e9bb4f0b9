"""Each family of encoders against its own model called by hand, one row at a time, so that nothing is padded."""

import io
import json
import re
import threading
from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from datasets import Dataset, DatasetDict, Features, Image, List, Value, Video
from embedding import encoder, vectors_of
from families import (
    FAMILIES,
    SENTENCES,
    SOUNDS,
    TEXTS,
    VIDEOS,
    WORDS,
    audio_column,
    audio_file,
    by_hand,
    dataset_of,
    last_hidden,
    picture,
    pooled,
    raw_inputs,
    rows_of,
    sound,
    words,
)
from PIL import Image as PILImage
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer
from transformers import (
    AutoFeatureExtractor,
    AutoModel,
    AutoTokenizer,
    ByT5Tokenizer,
    ViTMAEModel,
)

from hf_curriculum import add_embeddings, provenance
from hf_curriculum.data.media import read_audio, read_image, read_video
from hf_curriculum.data.splits import as_dataset
from hf_curriculum.encoders.resolve import Options, load_encoder

pytestmark = [pytest.mark.costly, pytest.mark.usefixtures("own_cache")]


# --- a family on disk, by hand, and as the library has it ---------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Saves the tiny model of a family with what prepares its inputs; returns its folder."""

    @cache
    def save(modality, name):
        case = FAMILIES[modality][name]
        path = tmp_path_factory.mktemp(f"{modality}-{name}")
        torch.manual_seed(0)
        case.model(case.config()).save_pretrained(path)
        case.prepare().save_pretrained(path)
        return str(path)

    return save


def assert_equal(vectors, expected, tolerance=1e-5):
    expected = np.stack([np.asarray(vector) for vector in expected])
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected, rtol=tolerance, atol=tolerance)  # vectors of size 1 to 10
    assert np.std(expected, axis=0).max() > 100 * tolerance  # rows that are all alike would prove nothing


CASES = [
    pytest.param(modality, name, pooling, id=f"{modality}-{name}-{pooling}")
    for modality, cases in FAMILIES.items()
    for name, case in cases.items()
    for pooling in ("auto", *case.poolings)
]


@pytest.mark.parametrize("modality, name, pooling", CASES)
def test_embedding_is_the_model_called_by_hand_in_any_batch(saved, modality, name, pooling):
    case, path, dataset = FAMILIES[modality][name], saved(modality, name), dataset_of(modality)
    embed, rows = encoder(path, dataset, pooling=pooling), rows_of(dataset)
    used = case.auto if pooling == "auto" else pooling
    assert re.fullmatch(r"[0-9a-f]{16}", embed.record["weights"])
    told = {"model_id": Path(path).name, "local": True, "weights": embed.record["weights"], "revision": None}
    assert embed.record == told | {"pooling": used, "layer": None} | (
        {"normalize": False} if modality == "text" else {}
    )
    expected = by_hand(modality, name, path, raw_inputs(modality, dataset), case.vector(pooling))
    assert_equal(embed(rows, 4), expected)
    assert_equal(embed(rows, 1), expected)
    assert_equal(embed(rows[::-1], 64)[::-1], expected)


# --- what families have of their own ------------------------------------------------------------------------------


def test_vit_mae_sees_the_whole_picture_each_time(saved):
    path, dataset = saved("image", "vit-mae"), dataset_of("image")
    embed, rows = encoder(path, dataset, pooling="last"), rows_of(dataset)
    np.testing.assert_array_equal(embed(rows, 6), embed(rows, 6))
    images, vector = raw_inputs("image", dataset), FAMILIES["image"]["vit-mae"].vector("last")
    assert_equal(embed(rows, 6), by_hand("image", "vit-mae", path, images, vector))
    with torch.no_grad():
        masked = ViTMAEModel.from_pretrained(path).eval()(torch.zeros(1, 3, 32, 32)).last_hidden_state
    assert masked.shape[1] == 5 < 17  # as it comes: a quarter of the patches and the class token


@pytest.mark.parametrize("name", [name for name in SOUNDS if name.startswith(("wav2vec2", "data2vec", "hubert"))])
def test_padding_would_change_the_vectors_of_some_audio_models_even_if_masked(saved, name):
    path, dataset = saved("audio", name), dataset_of("audio")
    model, clips = SOUNDS[name].model.from_pretrained(path).eval(), raw_inputs("audio", dataset)
    extractor = AutoFeatureExtractor.from_pretrained(path)
    inputs = extractor(clips[:2], sampling_rate=16_000, padding=True, return_tensors="pt", return_attention_mask=True)
    with torch.no_grad():
        padded = model(**inputs).last_hidden_state[0, :10].numpy()
    (alone,) = by_hand("audio", name, path, clips[:1], last_hidden)
    differ = np.abs(padded - alone[:10].numpy()).max() > 1e-3
    assert differ == (not name.endswith("-layer"))


@pytest.mark.parametrize("name", ["roberta", "mpnet", "clap"])
def test_text_models_that_count_positions_from_their_padding_take_two_fewer(saved, name, tmp_path):
    positions = 20 if name == "clap" else 514
    case = TEXTS[name]
    AutoModel.from_pretrained(saved("text", name)).save_pretrained(tmp_path)
    words(model_max_length=int(1e30))().save_pretrained(tmp_path)
    long = " ".join(["red cat dog"] * 300)
    texts = [long, "red cat"]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    model = case.model.from_pretrained(tmp_path).eval()
    inputs = tokenizer(long, truncation=True, max_length=positions - 2, return_tensors="pt")
    with torch.no_grad():
        expected = case.vector()(model, inputs)
    embed = encoder(str(tmp_path), dataset_of("text"))
    np.testing.assert_allclose(embed(texts, 2)[0], expected, atol=1e-5)


@pytest.mark.parametrize("size", ["xlnet", "byt5"])
def test_text_models_without_a_limit_take_any_text(saved, size, tmp_path):
    case = TEXTS[size]
    AutoModel.from_pretrained(saved("text", size)).save_pretrained(tmp_path)
    (ByT5Tokenizer() if size == "byt5" else words(model_max_length=int(1e30))()).save_pretrained(tmp_path)
    long = " ".join(["red cat dog"] * 100)
    model, tokenizer = AutoModel.from_pretrained(tmp_path).eval(), AutoTokenizer.from_pretrained(tmp_path)
    with torch.no_grad():
        expected = case.vector("mean")(model, tokenizer(long, return_tensors="pt"))
    embed = encoder(str(tmp_path), dataset_of("text"), pooling="mean")
    np.testing.assert_allclose(embed(["red", long], 2)[1], expected, atol=1e-5)


# --- layers -------------------------------------------------------------------------------------------------------

LAYERED = {  # the class of its layers, and the part of the model that has them
    ("image", "vit"): ("ViTLayer", lambda model: model),
    ("image", "clip"): ("CLIPEncoderLayer", lambda model: model.vision_model),
    ("image", "vit-mae"): ("ViTMAELayer", lambda model: model),
    ("audio", "wav2vec2-group"): ("Wav2Vec2EncoderLayer", lambda model: model),
    ("audio", "wav2vec2-layer"): ("Wav2Vec2EncoderLayerStableLayerNorm", lambda model: model),
    ("audio", "whisper"): ("WhisperEncoderLayer", lambda model: model.get_encoder()),
    ("text", "bert"): ("BertLayer", lambda model: model),
    ("text", "clip"): ("CLIPEncoderLayer", lambda model: model.text_model),
    ("text", "t5"): ("T5Block", lambda model: model.get_encoder()),
    ("text", "llama"): ("LlamaDecoderLayer", lambda model: model),
}
LAYERS = pytest.mark.parametrize("modality, name", LAYERED)
BY_LAYER = {"image": "cls", "audio": "mean", "text": "mean"}


def states_by_hand(modality, name, part, take):
    """States of one row that ``take`` gets from the part of the model with its layers; whisper's sound alone."""

    def call(model, inputs):
        model.config.mask_ratio = 0.0
        if name == "vit-mae":
            inputs["noise"] = torch.arange(16)[None]
        frames = inputs.pop("attention_mask").sum() if name == "whisper" else None
        states = take(part(model), inputs)
        return states if frames is None else states[: (frames + 1) // 2]

    return call


@LAYERS
@pytest.mark.parametrize("layer", [0, -2])
def test_an_index_is_that_of_the_hidden_states(saved, modality, name, layer):
    path, dataset, (_, part) = saved(modality, name), dataset_of(modality), LAYERED[modality, name]
    pooling = "last" if name == "llama" else BY_LAYER[modality]
    take = states_by_hand(
        modality, name, part, lambda model, inputs: model(**inputs, output_hidden_states=True).hidden_states[layer][0]
    )
    expected = by_hand(
        modality, name, path, raw_inputs(modality, dataset), lambda *given: pooled(pooling, take(*given))
    )
    embed = encoder(path, dataset, layer=layer)
    assert (embed.record["pooling"], embed.record["layer"]) == (pooling, layer)
    np.testing.assert_allclose(embed(rows_of(dataset), 4), np.stack(expected), atol=1e-5)


@LAYERS
def test_a_name_is_that_of_a_module(saved, modality, name):
    path, dataset, (kind, part) = saved(modality, name), dataset_of(modality), LAYERED[modality, name]
    named = part(FAMILIES[modality][name].model.from_pretrained(path)).named_modules()
    layer = next(found for found, module in named if type(module).__name__ == kind)

    def hooked(model, inputs):
        caught = []
        handle = model.get_submodule(layer).register_forward_hook(lambda module, args, output: caught.append(output))
        model(**inputs)
        handle.remove()
        return (caught[0][0] if isinstance(caught[0], tuple) else caught[0])[0]

    take = states_by_hand(modality, name, part, hooked)
    states = by_hand(modality, name, path, raw_inputs(modality, dataset), take)
    for pooling in ("mean", "max"):
        embed = encoder(path, dataset, layer=layer, pooling=pooling)
        assert_equal(embed(rows_of(dataset), 4), [pooled(pooling, hidden) for hidden in states])


@pytest.mark.parametrize("modality, name", [("image", "vit"), ("audio", "wav2vec2-layer"), ("text", "bert")])
def test_a_layer_that_there_is_not_is_refused(saved, modality, name):
    path, dataset = saved(modality, name), dataset_of(modality)
    for layer in (3, -4):
        with pytest.raises(ValueError, match=rf"layer={layer} is out of range: the model has 3 hidden states"):
            add_embeddings(dataset, path, layer=layer)
    with pytest.raises(ValueError, match=r"layer 'encoder\.nowhere' is not a module of \w+Model; some are \['\w+"):
        add_embeddings(dataset, path, layer="encoder.nowhere")


def test_a_module_that_is_never_called_is_refused(saved):
    with pytest.raises(ValueError, match=r"layer 'encoder\.layer' gives no hidden states for text; choose another"):
        add_embeddings(dataset_of("text"), saved("text", "bert"), layer="encoder.layer")  # a list of modules


@pytest.mark.parametrize("name, layer", [("wav2vec2-layer", "feature_extractor.conv_layers.6"), ("whisper", "conv1")])
def test_a_layer_of_channels_is_refused_where_its_frames_would_have_to_be_masked(saved, name, layer):
    with pytest.raises(ValueError, match=f"layer {layer!r} does not give one vector a frame"):
        add_embeddings(dataset_of("audio"), saved("audio", name), layer=layer)


# --- Sentence Transformers ----------------------------------------------------------------------------------------


@pytest.fixture
def sentence_model(saved, tmp_path):
    """Saves the tiny BERT with these modules behind it as a Sentence Transformers folder; returns the folder."""

    def save(*modules, max_seq_length=None, settings=None):
        bert = Transformer(saved("text", "bert"), max_seq_length=max_seq_length)
        SentenceTransformer(modules=[bert, *modules]).save(str(tmp_path))
        for name, changed in (settings or {}).items():
            file = tmp_path / name
            file.write_text(json.dumps((json.loads(file.read_text()) if file.exists() else {}) | changed))
        return str(tmp_path)

    return save


def old_pooling(**modes):
    """The settings of a pooling as repositories made before version 6 have them."""
    names = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")
    return {f"pooling_mode_{name}": modes.get(name, False) for name in names}


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("mode, pooling", [("cls", "cls"), ("mean", "mean"), ("max", "max"), ("lasttoken", "last")])
def test_sentence_transformers_are_pooled_and_normalised_by_their_modules(sentence_model, mode, pooling, normalize):
    path = sentence_model(Pooling(16, pooling_mode=mode), *([Normalize()] if normalize else []))
    embedded = add_embeddings(dataset_of("text"), path, batch_size=4)
    record = provenance(embedded, "embedding")
    assert (record["pooling"], record["normalize"]) == (pooling, normalize)
    expected = SentenceTransformer(path, device="cpu").encode(SENTENCES)
    assert_equal(vectors_of(embedded), expected)
    lengths = np.linalg.norm(expected, axis=1)
    assert np.allclose(lengths, 1) == normalize


@pytest.mark.parametrize("mode, pooling", [("cls_token", "cls"), ("max_tokens", "max"), ("lasttoken", "last")])
def test_sentence_transformers_with_settings_of_older_versions_are_read_too(sentence_model, mode, pooling):
    path = sentence_model(Pooling(16, pooling_mode="mean"))
    (Path(path) / "1_Pooling" / "config.json").write_text(json.dumps(old_pooling(**{mode: True})))
    modules = [("0", "", "Transformer"), ("1", "1_Pooling", "Pooling")]
    (Path(path) / "modules.json").write_text(
        json.dumps(
            [
                {"idx": int(i), "name": i, "path": folder, "type": f"sentence_transformers.models.{kind}"}
                for i, folder, kind in modules
            ]
        )
    )
    embed = encoder(path, dataset_of("text"))
    assert embed.record["pooling"] == pooling
    expected = by_hand("text", "bert", path, SENTENCES, TEXTS["bert"].vector(pooling))
    assert_equal(embed(SENTENCES, 4), expected)


@pytest.mark.parametrize("where", ["module", "old settings"])
def test_sentence_transformers_take_no_more_tokens_than_they_say(sentence_model, where):
    settings = {"sentence_bert_config.json": {"max_seq_length": 5}} if where == "old settings" else None
    path = sentence_model(Pooling(16), max_seq_length=5 if where == "module" else None, settings=settings)
    texts = ["red cat green dog large bird", "red cat green", "red cat"]  # cut to three words between two tokens
    vectors = vectors_of(add_embeddings(Dataset.from_dict({"text": texts}), path))
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)
    np.testing.assert_allclose(vectors, SentenceTransformer(path, device="cpu").encode(texts), atol=1e-5)
    assert np.abs(vectors[1] - vectors[2]).max() > 1e-3


REFUSED = {
    "Dense": ([Pooling(16), Dense(16, 4)], {}, r"has modules \['Transformer', 'Pooling', 'Dense'\].*\(Dense\)"),
    "two poolings": ([Pooling(16, pooling_mode=("cls", "mean"))], {}, r"\(not its pooling\)"),
    "weighted": ([Pooling(16, pooling_mode="weightedmean")], {}, r"\(not its pooling\)"),
    "lower case": ([Pooling(16)], {"sentence_bert_config.json": {"do_lower_case": True}}, r"\(do_lower_case\)"),
    "a prompt": (
        [Pooling(16)],
        {"config_sentence_transformers.json": {"prompts": {"q": "red "}, "default_prompt_name": "q"}},
        r"\(default_prompt_name\)",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_sentence_transformers_with_more_than_that_are_to_be_passed_loaded(sentence_model, what):
    modules, settings, message = REFUSED[what]
    path, dataset = sentence_model(*modules, settings=settings), dataset_of("text")
    with pytest.raises(ValueError, match=message + r".* Pass the loaded model .*SentenceTransformer\(\.\.\.\)"):
        add_embeddings(dataset, path)
    loaded = SentenceTransformer(path, device="cpu")
    assert_equal(vectors_of(add_embeddings(dataset, loaded, batch_size=4)), loaded.encode(SENTENCES))
    bare = by_hand("text", "bert", path, SENTENCES, TEXTS["bert"].vector("mean"))
    assert_equal(vectors_of(add_embeddings(dataset, path, pooling="mean")), bare)


# --- encoders of your own -----------------------------------------------------------------------------------------


class Projection(torch.nn.Module):
    """Flattened pixels times a matrix."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.project = torch.nn.Linear(8 * 8 * 3, 5)

    def forward(self, pixels):
        return self.project(pixels.flatten(1))


def pixels_of(row):
    """The transform of a user: from the bytes of an image to a tensor."""
    with PILImage.open(io.BytesIO(row["bytes"])) as image:
        return torch.from_numpy(np.asarray(image.resize((8, 8)), np.float32) / 255)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_module_gets_what_its_transform_makes_of_the_encoded_row(num_workers, tmp_path):
    dataset, module = dataset_of("image"), Projection()
    options = {"num_workers": num_workers, "batch_size": 4, "cache_dir": str(tmp_path)}
    embedded = add_embeddings(dataset, module, transform=pixels_of, **options)
    assert provenance(embedded, "embedding")["model_id"] == "Projection"
    with torch.no_grad():
        alone = [module(pixels_of(row)[None])[0].numpy() for row in rows_of(dataset)]
    assert_equal(vectors_of(embedded), alone)


def test_a_function_gets_the_encoded_rows_of_media():
    def sizes(rows):
        return [[float(len(row["bytes"])), float(row["path"] is None)] for row in rows]

    for modality in ("image", "audio"):
        dataset = dataset_of(modality)
        expected = [[len(row["bytes"]), 1] for row in rows_of(dataset)]
        np.testing.assert_array_equal(vectors_of(add_embeddings(dataset, sizes)), expected)


def test_settings_of_a_module_that_are_no_weights_count_too():
    class Scaled(torch.nn.Module):
        def __init__(self, scale):
            super().__init__()
            self.scale = scale

        def forward(self, rows):
            return torch.tensor([[self.scale * len(row)] for row in rows])

    once, twice = (vectors_of(add_embeddings(dataset_of("text"), Scaled(scale))) for scale in (1.0, 2.0))
    np.testing.assert_array_equal(twice, 2 * once)


# --- images -------------------------------------------------------------------------------------------------------


def encoded(image, layout="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, layout, **options)
    return {"bytes": buffer.getvalue(), "path": None}


def lying(image):
    """A file of an image that is to be turned upright."""
    exif = PILImage.Exif()
    exif[0x0112] = 6  # orientation: turn by 90 degrees, clockwise
    return encoded(image.transpose(PILImage.Transpose.ROTATE_90), exif=exif)


def sixteen(grey, mode="I;16"):
    """A grey image of 16 bits, little or big endian."""
    pixels = 257 * np.asarray(grey, np.uint16)
    return PILImage.frombytes(mode, grey.size, pixels.astype(">u2" if mode == "I;16B" else "<u2").tobytes())


def black_and_white(image):
    return image.convert("1", dither=PILImage.Dither.NONE)


MODES = {  # the file of a picture, and what it shows
    "RGB": (encoded, lambda image: image),
    "L": (lambda image: encoded(image.convert("L")), lambda image: image.convert("L").convert("RGB")),
    "LA": (lambda image: encoded(image.convert("LA")), lambda image: image.convert("L").convert("RGB")),
    "RGBA": (lambda image: encoded(image.convert("RGBA")), lambda image: image),
    "P": (lambda image: encoded(image.quantize(16)), lambda image: image.quantize(16).convert("RGB")),
    "CMYK": (lambda image: encoded(image.convert("CMYK"), "TIFF"), lambda image: image.convert("CMYK").convert("RGB")),
    "1": (lambda image: encoded(black_and_white(image)), lambda image: black_and_white(image).convert("RGB")),
    "I;16": (lambda image: encoded(sixteen(image.convert("L"))), lambda image: image.convert("L").convert("RGB")),
    "I;16B": (
        lambda image: encoded(sixteen(image.convert("L"), "I;16B"), "TIFF"),
        lambda image: image.convert("L").convert("RGB"),
    ),
    "EXIF": (lying, lambda image: image),
}


@pytest.mark.parametrize("mode", MODES)
def test_an_image_is_read_as_what_it_shows(mode):
    image = picture(3, (30, 20))
    file, shown = (make(image) for make in MODES[mode])
    assert mode in ("EXIF", PILImage.open(io.BytesIO(file["bytes"])).mode)
    read = read_image(file)
    assert (read.mode, read.size) == ("RGB", (30, 20))
    np.testing.assert_array_equal(np.asarray(read), np.asarray(shown))


def test_images_of_any_mode_embed_as_what_they_show(saved):
    column = Features({"image": Image()})
    files, shown = zip(*[[make(picture(i)) for make in MODES[mode]] for i, mode in enumerate(MODES)], strict=True)
    embedded, expected = (
        vectors_of(add_embeddings(Dataset.from_dict({"image": images}, column), saved("image", "vit"), batch_size=4))
        for images in (list(files), list(shown))
    )
    assert_equal(embedded, expected)


# --- audio --------------------------------------------------------------------------------------------------------


def tone(frequency, rate, seconds=0.5):
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
@pytest.mark.parametrize("layout, tolerance", [("WAV", 1e-3), ("FLAC", 1e-3), ("OGG", 0.05)])
@pytest.mark.parametrize("channels", [1, 2])
def test_audio_is_read_at_the_rate_of_the_model_in_one_channel(rate, layout, tolerance, channels):
    left, right = tone(440, rate), tone(700 if channels == 2 else 440, rate)
    samples = read_audio(audio_file(np.stack([left, right], 1)[:, :channels], rate, layout), 16_000)
    assert samples.dtype == np.float32 and samples.shape == (8_000,)
    expected = (tone(440, 16_000) + tone(700 if channels == 2 else 440, 16_000)) / 2
    np.testing.assert_allclose(samples[800:-800], expected[800:-800], atol=tolerance)  # the ends ring


@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_audio_that_libsndfile_does_not_know_is_read_too(tmp_path, rate):
    path = str(tmp_path / "tones.m4a")
    with av.open(path, "w") as container:
        stream = container.add_stream("aac", rate=rate, layout="stereo", bit_rate=128_000)
        channels = np.stack([tone(440, rate, 2), tone(900, rate, 2)])
        frame = av.AudioFrame.from_ndarray(channels, format="fltp", layout="stereo")
        frame.rate = rate
        container.mux([*stream.encode(frame), *stream.encode()])
    samples = read_audio({"bytes": Path(path).read_bytes(), "path": None}, 16_000)
    assert samples.size == pytest.approx(32_000, abs=0.3 * 16_000)  # the codec fills up its blocks
    strength = np.abs(np.fft.rfft(samples[8_000:24_000]))  # a second: one number a Hz
    assert set(np.argsort(strength)[-2:]) == {440, 900}
    assert strength[440] == pytest.approx(0.25 * 8_000, rel=0.05)


def test_a_column_may_mix_rates_channels_and_formats(saved):
    clip = tone(440, 16_000)
    other = [
        audio_file(tone(440, 8_000), 8_000),
        audio_file(np.stack([tone(440, 44_100)] * 2, 1), 44_100, "FLAC"),
        audio_file(clip, layout="OGG"),
        audio_file(tone(900, 16_000)),
    ]
    first, *rest = vectors_of(add_embeddings(audio_column([audio_file(clip), *other]), saved("audio", "whisper")))
    apart = np.abs(rest.pop() - first).mean()
    assert all(np.abs(vector - first).mean() < 0.2 * apart for vector in rest)


@pytest.mark.parametrize("name", ["wav2vec2-group", "wav2vec2-layer", "hubert-layer", "data2vec-audio"])
def test_clips_shorter_than_a_frame_are_filled_up_with_silence(saved, name):
    clips = [sound(i, 1)[:samples] for i, samples in enumerate((1, 399, 100, 400, 2000))]
    path, dataset = saved("audio", name), audio_column([audio_file(clip, subtype="FLOAT") for clip in clips])
    filled = [np.pad(clip, (0, max(0, 400 - clip.size))) for clip in clips]
    expected = by_hand("audio", name, path, filled, SOUNDS[name].vector())
    assert_equal(encoder(path, dataset)(rows_of(dataset), 3), expected)


@pytest.mark.parametrize("modality, name", [("audio", "wav2vec2-group"), ("audio", "whisper"), ("text", "bert")])
def test_workers_send_arrays_where_a_window_has_many_batches(saved, modality, name):
    """Each tensor holds a file open: the loader of torch hangs when there are no more to be had."""
    dataset = dataset_of(modality)
    found, _ = load_encoder(saved(modality, name), dataset, Options())
    prepared = found.prepare([found.read(row) for row in rows_of(dataset)], 1)
    assert len(prepared.batches) == 6 <= found.window
    assert {type(value) for batch in prepared.batches for value in batch.inputs.values()} == {np.ndarray}


TAKEN = {"wav2vec2-group": 3_200, "wav2vec2-layer": 3_200, "whisper": 32_000, "ast": 10_480, "clap": 16_000}
LONG = pytest.mark.parametrize("name", TAKEN)


def long_clips(taken):
    """Clips of which three are longer than so many samples."""
    clips = [sound(i, 5)[: int(share * taken)] for i, share in enumerate((0.7, 2.3, 1, 1.1, 2))]
    return clips, audio_column([audio_file(clip, subtype="FLOAT") for clip in clips])


def audio_options(name):
    return {"max_seconds": 0.2} if name.startswith("wav2vec2") else {}


def audio_by_hand(saved, name, clips):
    return by_hand("audio", name, saved("audio", name), clips, SOUNDS[name].vector())


@LONG
def test_long_audio_is_cut_and_counted_in_one_warning(saved, name, caplog):
    clips, dataset = long_clips(TAKEN[name])
    embedded = add_embeddings(dataset, saved("audio", name), batch_size=2, **audio_options(name))
    assert_equal(vectors_of(embedded), audio_by_hand(saved, name, [clip[: TAKEN[name]] for clip in clips]))
    (warning,) = [record.getMessage() for record in caplog.records if record.name.startswith("hf_curriculum")]
    assert "3 of 5 rows (60.0 %) are longer than the model takes and were cut; long_inputs='mean'" in warning


@LONG
def test_long_audio_may_be_averaged_over_its_windows_by_their_length(saved, name, caplog):
    clips, dataset = long_clips(TAKEN[name])
    options = {"batch_size": 2, "long_inputs": "mean", **audio_options(name)}
    vectors = vectors_of(add_embeddings(dataset, saved("audio", name), **options))
    expected = []
    for clip in clips:
        windows = np.array_split(clip, -(-clip.size // TAKEN[name]))
        weights = np.array([window.size for window in windows])
        expected.append(weights @ np.stack(audio_by_hand(saved, name, windows)) / clip.size)
    assert_equal(vectors, expected)
    assert not [record for record in caplog.records if record.name.startswith("hf_curriculum")]


# --- video --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Two films of 12 and 30 frames, as files."""
    paths = []
    for seed, count in ((0, 12), (1, 30)):
        paths.append(str(tmp_path_factory.mktemp("films") / f"{count}.mp4"))
        with av.open(paths[-1], "w") as container:
            stream = container.add_stream("libx264", rate=10)
            stream.width, stream.height, stream.pix_fmt = 48, 40, "yuv420p"
            for i in range(count):
                shades = np.full((40, 48, 3), 255 * i // count, np.uint8)
                shades[:20] = np.asarray(picture(seed, (48, 20)))
                container.mux(stream.encode(av.VideoFrame.from_ndarray(shades)))
            container.mux(stream.encode())
    return paths


def all_frames(path):
    with av.open(path) as container:
        return [frame.to_image() for frame in container.decode(video=0)]


def test_frames_of_a_video_are_at_even_distances(films):
    for path, chosen in ((films[0], [1, 4, 7, 10]), (films[1], [3, 11, 18, 26])):
        frames = all_frames(path)
        for row in ({"bytes": None, "path": path}, {"bytes": Path(path).read_bytes(), "path": None}):
            read = read_video(row, 4)
            assert [frames.index(frame) for frame in read] == chosen
    assert len(read_video({"bytes": None, "path": films[0]}, 20)) == 20  # some come twice


@pytest.mark.parametrize("name", VIDEOS)
def test_a_video_file_embeds_as_its_frames_by_hand(saved, films, name):
    path = saved("video", name)
    dataset = Dataset.from_dict({"film": films, "n": [0, 1]}, features=Features({"film": Video(), "n": Value("int8")}))
    chosen = [[frames[int((i + 0.5) * len(frames) / 4)] for i in range(4)] for frames in map(all_frames, films)]
    expected = by_hand("video", name, path, chosen, VIDEOS[name].vector())
    assert_equal(vectors_of(add_embeddings(dataset, path)), expected)


def test_a_list_of_a_fixed_number_of_images_is_a_video_too(saved):
    frames = [[picture(i + j) for j in range(4)] for i in range(2)]
    fixed, free = (
        Dataset.from_dict({"frames": frames}, features=Features({"frames": List(Image(), length=length)}))
        for length in (4, -1)
    )
    path = saved("video", "videomae")
    assert_equal(vectors_of(add_embeddings(fixed, path)), vectors_of(add_embeddings(free, path)))


@pytest.mark.parametrize(
    "row, cause",
    [
        (None, "the video is null"),
        ({"bytes": b"no film", "path": None}, "InvalidDataError"),
        ([], "the video has no frames"),
        ([None, None], "the image is null"),
    ],
)
def test_a_video_that_cannot_be_read_says_why(saved, row, cause):
    feature = List(Image()) if isinstance(row, list) else Video()
    good = [picture(0)] if isinstance(row, list) else None
    dataset = Dataset.from_dict({"film": [row, good]}, features=Features({"film": feature}))
    with pytest.raises(ValueError, match=f"Row 0 of column 'film' cannot be embedded: {cause}"):
        add_embeddings(dataset, saved("video", "videomae"))


# --- texts --------------------------------------------------------------------------------------------------------


def words_of(n):
    return " ".join(np.random.default_rng(n).choice(WORDS[4:], n))


LONG_TEXTS = {  # tokenizer, texts, what fits into a window, tokens of a text without those around it
    "bert": (words(), [words_of(n) for n in (62, 63, 3, 150)], 62, str.split),
    "byt5": (
        lambda: ByT5Tokenizer(model_max_length=16),
        ["a text", "twenty bytes of text", "x" * 15, "y" * 40],
        15,
        list,
    ),
}


@pytest.fixture(params=LONG_TEXTS)
def long_texts(request, saved, tmp_path):
    """A model, its texts, and the vector of a text by hand."""
    name = request.param
    tokenizer, texts, size, split = LONG_TEXTS[name]
    AutoModel.from_pretrained(saved("text", name)).save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    joint = " " if name == "bert" else ""
    windows = [[joint.join(split(text)[i : i + size]) for i in range(0, len(split(text)), size)] for text in texts]

    def vectors(texts):
        return by_hand("text", name, str(tmp_path), texts, TEXTS[name].vector())

    around = 2 if name == "bert" else 1
    return str(tmp_path), texts, windows, vectors, lambda text: len(split(text)) + around


def test_long_texts_are_cut_and_counted_in_one_warning(long_texts, caplog):
    path, texts, windows, vectors, _ = long_texts
    embedded = add_embeddings(Dataset.from_dict({"text": texts}), path, batch_size=2)
    assert_equal(vectors_of(embedded), vectors([found[0] for found in windows]))
    (warning,) = [record.getMessage() for record in caplog.records if record.name.startswith("hf_curriculum")]
    assert "2 of 4 rows (50.0 %) are longer than the model takes and were cut; long_inputs='mean'" in warning


def test_long_texts_may_be_averaged_over_their_windows_by_their_length(long_texts, caplog):
    path, texts, windows, vectors, length = long_texts
    embedded = add_embeddings(Dataset.from_dict({"text": texts}), path, batch_size=2, long_inputs="mean")
    expected = [np.average(np.stack(vectors(found)), axis=0, weights=list(map(length, found))) for found in windows]
    assert [len(found) for found in windows] in ([1, 2, 1, 3], [1, 2, 1, 3])
    assert_equal(vectors_of(embedded), expected)
    assert not [record for record in caplog.records if record.name.startswith("hf_curriculum")]


# --- datasets -----------------------------------------------------------------------------------------------------


class Rows(torch.utils.data.Dataset):
    """A map-style dataset of torch, with something in it that cannot be pickled."""

    def __init__(self, rows):
        self.rows = rows
        self.lock = threading.Lock()

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return self.rows[index]


def test_torch_datasets_of_images_and_labels_are_embedded_as_a_dataset_is(saved):
    images, path = raw_inputs("image", dataset_of("image")), saved("image", "vit")
    expected = vectors_of(add_embeddings(dataset_of("image"), path))
    pairs = Rows([(image, i) for i, image in enumerate(images)])
    embedded = add_embeddings(pairs, path)
    assert embedded.column_names == ["image", "label", "embedding"]
    assert embedded["label"][:] == list(range(6))
    assert_equal(vectors_of(embedded), expected)
    part = add_embeddings(torch.utils.data.Subset(pairs, [4, 1, 3]), path)
    assert part["label"][:] == [4, 1, 3]
    assert_equal(vectors_of(part), expected[[4, 1, 3]])


@pytest.mark.parametrize(
    "rows, columns",
    [
        ([{"text": "red cat", "kind": torch.tensor(1)}, {"text": "a dog", "kind": torch.tensor(0)}], ["text", "kind"]),
        ([("red cat", torch.tensor(1)), ("a dog", torch.tensor(0))], ["text", "label"]),
        ([("red cat", 1, "x"), ("a dog", 0, "y")], ["text", "label", "column_2"]),
        ([["red cat", 1], ["a dog", 0]], ["text", "label"]),
        ([("red cat",), ("a dog",)], ["text"]),
    ],
)
def test_torch_datasets_of_dictionaries_and_tuples_become_columns(saved, rows, columns):
    embedded = add_embeddings(Rows(rows), saved("text", "bert"), input_column="text")
    assert embedded.column_names == [*columns, "embedding"]
    if len(columns) > 1:
        assert embedded[columns[1]][:] == [1, 0]
    expected = add_embeddings(Dataset.from_dict({"text": ["red cat", "a dog"]}), saved("text", "bert"))
    assert_equal(vectors_of(embedded), vectors_of(expected))


def test_torch_datasets_of_tensors_go_to_an_encoder_of_your_own():
    numbers = torch.arange(12, dtype=torch.float32).reshape(4, 3)
    dataset = torch.utils.data.TensorDataset(numbers, torch.arange(4))
    embedded = add_embeddings(dataset, lambda rows: 2 * np.array(rows), input_column="input")
    np.testing.assert_array_equal(vectors_of(embedded), 2 * numbers)
    assert embedded["label"][:] == [0, 1, 2, 3]


def test_equal_rows_of_torch_datasets_are_equal_datasets_and_others_are_not():
    first, again, other = (as_dataset(Rows([(word, 0), ("dog", 1)])) for word in ("cat", "cat", "bird"))
    assert first._fingerprint == again._fingerprint != other._fingerprint


@pytest.mark.parametrize("rows, kind", [([1, 2], "int"), (["red cat", "dog"], "str"), ([picture(0)], "Image")])
def test_torch_datasets_of_other_rows_are_refused(saved, rows, kind):
    with pytest.raises(TypeError, match=rf"Row 0 is a {kind}; .*must give dictionaries, or tuples such as \(image"):
        add_embeddings(Rows(rows), saved("text", "bert"))


def test_an_empty_or_a_streaming_torch_dataset_is_refused(saved):
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            yield ("red cat", 0)

    with pytest.raises(ValueError, match="The dataset has no rows"):
        add_embeddings(Rows([]), saved("text", "bert"))
    with pytest.raises(TypeError, match="Expected a datasets.Dataset, got Stream"):
        add_embeddings(Stream(), saved("text", "bert"))


@pytest.mark.parametrize("modality", ["image", "audio", "text"])
def test_each_split_of_a_dataset_dict_is_embedded(saved, modality):
    path, dataset = saved(modality, next(iter(FAMILIES[modality]))), dataset_of(modality)
    whole = vectors_of(add_embeddings(dataset, path))
    embedded = add_embeddings(DatasetDict({"train": dataset.select([3, 1]), "test": dataset.select([5])}), path)
    assert list(embedded) == ["train", "test"]
    np.testing.assert_allclose(vectors_of(embedded["train"]), whole[[3, 1]], atol=1e-5)
    np.testing.assert_allclose(vectors_of(embedded["test"]), whole[[5]], atol=1e-5)


# --- models of two modalities, and models that cannot be loaded ---------------------------------------------------


@pytest.fixture(scope="module")
def two_sided(saved, tmp_path_factory):
    """Folders of CLIP and CLAP with all their processors, by the modality beside text, and a dataset for each."""

    @cache
    def make(modality):
        name, path = {"image": "clip", "audio": "clap"}[modality], tmp_path_factory.mktemp(modality)
        AutoModel.from_pretrained(saved("text", name)).save_pretrained(path)
        FAMILIES[modality][name].prepare().save_pretrained(path)
        TEXTS[name].prepare().save_pretrained(path)
        dataset = dataset_of(modality).add_column("caption", SENTENCES)
        return str(path), dataset

    return make


@pytest.mark.parametrize("modality", ["image", "audio"])
def test_a_model_of_two_modalities_asks_which_if_the_dataset_has_both(two_sided, modality):
    path, dataset = two_sided(modality)
    with pytest.raises(ValueError, match=rf"\['{modality}', 'caption'\].*input_column=\.\.\. or modality=\.\.\. \("):
        add_embeddings(dataset, path)
    for chosen, column in ((modality, modality), ("text", "caption")):
        alone = vectors_of(add_embeddings(dataset.select_columns([column]), path))
        by_modality = add_embeddings(dataset, path, modality=chosen)
        by_column = add_embeddings(dataset, path, input_column=column)
        assert provenance(by_modality, "embedding")["input_column"] == column
        assert_equal(vectors_of(by_modality), alone)
        assert_equal(vectors_of(by_column), alone)
    with pytest.raises(ValueError, match=rf"embeds {modality} or text, not video\. Drop modality='video'"):
        add_embeddings(dataset, path, modality="video")


@pytest.mark.parametrize("modality", ["image", "audio", "text"])
def test_a_folder_without_weights_or_processor_says_so(saved, modality, tmp_path):
    whole = Path(saved(modality, {"image": "vit", "audio": "wav2vec2-group", "text": "bert"}[modality]))
    lacking = {"weights": ["config.json"], "processor": ["config.json", "model.safetensors"]}
    for what, files in lacking.items():
        path = tmp_path / what
        path.mkdir()
        for file in files:
            (path / file).write_bytes((whole / file).read_bytes())
        with pytest.raises(
            ValueError, match=rf"{what} cannot be loaded: it lacks weights, or what prepares its {modality} "
        ):
            add_embeddings(dataset_of(modality), str(path))
