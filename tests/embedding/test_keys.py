"""Keys: whatever could change a vector changes the key, and what could not does not; between interpreters, too."""

import copy
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch
from datasets import Audio, Dataset, Features, Image, List, Value, Video, load_from_disk
from datasets.fingerprint import Hasher
from launching import environment
from PIL import Image as PILImage
from transformers import CTRLTokenizer

from hf_curriculum import Embedder, add_embeddings
from hf_curriculum.encoders import digest
from hf_curriculum.encoders.resolve import Options, load_encoder
from hf_curriculum.encoders.tokens import tokenizer_parts

pytestmark = [pytest.mark.costly, pytest.mark.usefixtures("own_cache")]


def keys(cache):
    return {folder.name for folder in Path(cache).glob("hf_curriculum/*")}


# --- the user's code ----------------------------------------------------------------------------------------------

OWN = '''"""Mine."""
import functools
import importlib
import numpy as np
import torch
import helper
from dataclasses import dataclass

SCALE = 2.0
MEANS = [0.5, 0.25]
TABLE = {"a": np.arange(3.0)}
LAYER = torch.nn.Linear(1, 1)
torch.nn.init.ones_(LAYER.weight)
torch.nn.init.ones_(LAYER.bias)
LOG = []
COUNT = [0]
calls = 0

def unrelated():
    return "unrelated"

def double(x):
    return x * 2

def cached_power(x, power=3):
    return x ** power

cached_power = functools.lru_cache(cached_power)

class Base:
    offset = 4.0
    def shift(self, x):
        return x + self.offset

@dataclass
class Settings:
    gain: float = 5.0

@functools.wraps(double)
def wrapped(x):
    return double(x) + 6.0

class Model(torch.nn.Module, Base):
    def __init__(self):
        super().__init__()
        self.settings = Settings()
    def forward(self, rows):
        global calls
        calls += 1
        COUNT[0] += 1
        LOG.append(len(rows))
        import late
        x = torch.tensor([[float(len(row))] for row in rows])
        x = importlib.import_module("named").of_a_name(x)
        x = double(x) * SCALE + MEANS[0] + TABLE["a"][1] + helper.more(x) + late.later(x)
        with torch.no_grad():
            return LAYER(self.shift(x) * self.settings.gain + cached_power(2) + wrapped(x))

@torch.no_grad()
def embed(rows):
    return Model()(rows)

embed_partly = functools.partial(embed)
embed_lambda = lambda rows: embed(rows)
embed_bound = Model().forward
'''
HELPER = "LEVEL = 7.0\ndef more(x):\n    return x * LEVEL\n\ndef not_reached(x):\n    return x\n"
LATE = "def later(x):\n    return x - 8.0\n"
NAMED = "def of_a_name(x):\n    return x + 9.0\n"
EDITS = {
    "a constant": ("own", "SCALE = 2.0", "SCALE = 2.5"),
    "a list": ("own", "[0.5, 0.25]", "[0.75, 0.25]"),
    "an array in a table": ("own", "arange(3.0)", "arange(4.0)"),
    "weights of a module of the module": ("own", "ones_(LAYER.bias)", "zeros_(LAYER.bias)"),
    "a function": ("own", "return x * 2", "return x * 3"),
    "a default": ("own", "power=3", "power=4"),
    "a cached function": ("own", "x ** power", "x ** (power + 1)"),
    "a base class": ("own", "return x + self.offset", "return x - self.offset"),
    "an attribute of a base class": ("own", "offset = 4.0", "offset = 4.5"),
    "a field of a dataclass": ("own", "gain: float = 5.0", "gain: float = 5.5"),
    "a wrapped function": ("own", "+ 6.0", "+ 6.5"),
    "a method": ("own", "self.settings.gain +", "self.settings.gain -"),
    "a constant of another module": ("helper", "LEVEL = 7.0", "LEVEL = 7.5"),
    "a function of another module": ("helper", "x * LEVEL", "x - LEVEL"),
    "a function imported late": ("late", "x - 8.0", "x - 8.5"),
    "a function of a module imported by a string": ("named", "x + 9.0", "x + 9.5"),
}
NO_EDITS = {
    "nothing": ("own", "SCALE = 2.0", "SCALE = 2.0"),
    "a comment": ("own", "SCALE = 2.0", "# so much\n\nSCALE = 2.0"),
    "a function that is not reached": ("own", '"unrelated"', '"something else"'),
    "one of another module": ("helper", "def not_reached(x):\n    return x", "def not_reached(x):\n    return -x"),
}
ASKED = """
import json, sys
from hf_curriculum.encoders import digest
import own
asked = "embed", "embed_partly", "embed_lambda", "embed_bound", "Model"
print(json.dumps([digest(own.Model() if name == "Model" else getattr(own, name)) for name in asked]))
own.embed(["a", "bc"])
print(json.dumps([digest(own.Model() if name == "Model" else getattr(own, name)) for name in asked]))
"""


def hashes_of(path, edit=None):
    path.mkdir()
    files = {"own": OWN, "helper": HELPER, "late": LATE, "named": NAMED}
    if edit:
        name, before, after = edit
        assert before in files[name]
        files[name] = files[name].replace(before, after)
    for name, code in files.items():
        (path / f"{name}.py").write_text(code)
    environ = environment()
    environ["PYTHONPATH"] = os.pathsep.join([str(path), environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", ASKED], capture_output=True, text=True, env=environ, cwd=path, check=False
    )
    assert done.returncode == 0, done.stderr
    first, second = map(json.loads, done.stdout.splitlines())
    assert first == second  # its log and its counters are no part of it
    return first


@pytest.fixture(scope="module")
def unedited(tmp_path_factory):
    return hashes_of(tmp_path_factory.mktemp("own") / "code")


@pytest.mark.slow
@pytest.mark.parametrize("name", EDITS)
def test_an_edit_of_what_the_code_reaches_is_another_key(unedited, tmp_path, name):
    edited = hashes_of(tmp_path / "code", EDITS[name])
    assert all(one != other for one, other in zip(unedited, edited, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", NO_EDITS)
def test_an_edit_of_anything_else_is_the_same_key(unedited, tmp_path, name):
    assert hashes_of(tmp_path / "code", NO_EDITS[name]) == unedited


def imported(path, code, monkeypatch, name):
    (path / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(str(path))
    sys.modules.pop(name, None)
    return __import__(name)


@pytest.mark.parametrize("edit", ["float(len(row))", "2.0 * len(row)"])
def test_an_imported_function_that_was_edited_gives_its_own_vectors(tmp_path, monkeypatch, edit):
    code = "def embed(rows):\n    return [[{}] for row in rows]\n"
    for name, body in (("one", "float(len(row))"), ("two", edit)):
        (tmp_path / name).mkdir()
        own = imported(tmp_path / name, code.format(body), monkeypatch, "edited_by_test")
        found = add_embeddings(Dataset.from_dict({"text": ["a", "bcd"]}), own.embed, cache_dir=str(tmp_path / "c"))
        np.testing.assert_array_equal(np.array(found["embedding"][:])[:, 0], own.embed(["a", "bcd"]) @ np.ones(1))
        hashed = Hasher.hash(Embedder(own.embed))
        if name == "one":
            first = hashed
    same = edit == "float(len(row))"
    assert (len(keys(tmp_path / "c")) == 1) == same == (hashed == first)


def test_what_cannot_be_hashed_is_not_kept_and_told(tmp_path, monkeypatch, caplog):
    own = imported(
        tmp_path,
        "SESSION = (i for i in range(3))\ndef embed(rows):\n    return [[1.0] for row in rows if SESSION]\n",
        monkeypatch,
        "session_of_test",
    )
    add_embeddings(Dataset.from_dict({"text": ["a"]}), own.embed, cache_dir=str(tmp_path / "c"))
    assert "not kept for later calls, since the model cannot be hashed: cannot pickle 'generator'" in caplog.text
    assert keys(tmp_path / "c") == set()
    assert Hasher.hash(Embedder(own.embed)) != Hasher.hash(Embedder(own.embed))


REMOTE = """
import torch
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput
from .parts import scaled

class NetConfig(PretrainedConfig):
    model_type = "net"

class Net(PreTrainedModel):
    config_class = NetConfig

    def __init__(self, config):
        super().__init__(config)
        self.embeddings = torch.nn.ModuleDict({"word_embeddings": torch.nn.Embedding(10, 32)})
        self.post_init()

    def forward(self, input_ids, attention_mask=None, **kwargs):
        return BaseModelOutput(1.0 * scaled(self.embeddings["word_embeddings"](input_ids)))
"""


# --- models of the Hub --------------------------------------------------------------------------------------------


def set_json(file, **settings):
    def edit(path):
        content = json.loads((path / file).read_text())
        (path / file).write_text(json.dumps(content | settings))

    return edit


TEXT = {
    "truncation_side": set_json("tokenizer_config.json", truncation_side="left"),
    "model_max_length": set_json("tokenizer_config.json", model_max_length=7),
    "a special token": set_json("tokenizer_config.json", sep_token="[UNK]"),
    "normalizer": set_json("tokenizer.json", normalizer={"type": "Lowercase"}),
    "epsilon": set_json("config.json", layer_norm_eps=0.1),
    "activation": set_json("config.json", hidden_act="relu"),
    "attention": set_json("config.json", _attn_implementation="eager"),
}
PICTURES = {
    "mean": set_json("preprocessor_config.json", image_mean=[0.1, 0.2, 0.3]),
    "filter": set_json("preprocessor_config.json", resample=0),
    "factor": set_json("preprocessor_config.json", rescale_factor=0.5),
}
SOUNDS = {"normalisation": set_json("preprocessor_config.json", do_normalize=False)}
FILMS = {
    "mean of a frame": set_json("preprocessor_config.json", image_mean=[0.1, 0.2, 0.3]),
    "attention of a film": set_json("config.json", _attn_implementation="eager"),
}
EDITED = [
    *(("tiny_bert", "sentences", name, edit) for name, edit in TEXT.items()),
    *(("tiny_dinov2", "digits", name, edit) for name, edit in PICTURES.items()),
    *(("tiny_wav2vec2", "clips", name, edit) for name, edit in SOUNDS.items()),
    *(("tiny_videomae", "films", name, edit) for name, edit in FILMS.items()),
]


@pytest.mark.parametrize("model, data, name, edit", EDITED, ids=lambda value: value if isinstance(value, str) else "")
def test_a_setting_of_a_model_is_part_of_its_key(request, tmp_path, model, data, name, edit):
    path, dataset = tmp_path / "model", request.getfixturevalue(data)
    shutil.copytree(request.getfixturevalue(model), path)

    def key():
        return digest(load_encoder(str(path), dataset, Options())[0].identity())

    before = key()
    assert key() == before
    edit(path)
    assert key() != before


def identity_of(path, dataset, **options):
    return digest(load_encoder(str(path), dataset, Options(**options))[0].identity())


def test_the_computation_of_attention_is_part_of_the_key(tiny_bert, sentences):
    encoder = load_encoder(tiny_bert, sentences, Options())[0]
    before = digest(encoder.identity())
    encoder.model.set_attn_implementation("eager")
    assert digest(encoder.identity()) != before


def test_the_place_of_a_model_is_no_part_of_its_key(tiny_bert, sentences, tmp_path):
    shutil.copytree(tiny_bert, tmp_path / "moved")
    assert identity_of(tmp_path / "moved", sentences) == identity_of(tiny_bert, sentences)


@pytest.mark.parametrize("file, factor", [("net.py", 3.0), ("parts.py", 5.0)])
def test_code_of_a_repository_that_was_edited_gives_its_own_vectors(tmp_path, tiny_bert, sentences, file, factor):
    path = tmp_path / f"edited_{file.partition('.')[0]}"
    shutil.copytree(tiny_bert, path)
    (path / "net.py").write_text(REMOTE)
    (path / "parts.py").write_text("def scaled(x):\n    return x * 1.0\n")
    set_json("config.json", model_type="net", auto_map={"AutoConfig": "net.NetConfig", "AutoModel": "net.Net"})(path)
    found = []
    for number in (1.0, 1.0, factor):
        (path / file).write_text((path / file).read_text().replace("1.0", str(number)))
        options = {"modality": "text", "trust_remote_code": True, "cache_dir": str(tmp_path)}
        found.append(np.array(add_embeddings(sentences, str(path), **options)["embedding"][:]))
    assert len(keys(tmp_path)) == 2
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_allclose(found[2], factor * found[0], rtol=1e-5, atol=1e-6)


SENTENCES = {
    "prompts": lambda model: model.prompts.update(query="q: "),
    "default_prompt_name": lambda model: setattr(model, "default_prompt_name", "query"),
    "truncate_dim": lambda model: setattr(model, "truncate_dim", 8),
    "similarity": lambda model: setattr(model, "similarity_fn_name", "dot"),
    "max_seq_length": lambda model: setattr(model, "max_seq_length", 8),
    "pooling": lambda model: setattr(model[1], "pooling_mode", "cls"),
    "without a module": lambda model: model.pop(2),
    "tokenizer": lambda model: setattr(model.tokenizer, "truncation_side", "left"),
    "attention": lambda model: model[0].auto_model.set_attn_implementation("eager"),
    "weights": lambda model: next(model.parameters()).data.mul_(1.5),
}


@pytest.fixture(scope="module")
def sentence_model(tiny_bert):
    library = pytest.importorskip("sentence_transformers")
    models = pytest.importorskip("sentence_transformers.models")
    modules = [models.Transformer(tiny_bert), models.Pooling(32), models.Normalize()]
    return library.SentenceTransformer(modules=modules, device="cpu")


@pytest.mark.parametrize("name", SENTENCES)
def test_a_setting_of_a_sentence_transformer_is_part_of_its_key(sentence_model, name):
    changed = copy.deepcopy(sentence_model)
    before = Hasher.hash(Embedder(changed))
    assert before == Hasher.hash(Embedder(sentence_model))
    SENTENCES[name](changed)
    assert Hasher.hash(Embedder(changed)) != before


def test_use_of_a_sentence_transformer_is_no_part_of_its_key(sentence_model):
    used = copy.deepcopy(sentence_model).eval()
    before = Hasher.hash(Embedder(used))
    used.encode(["a text", "and a longer one"])
    assert Hasher.hash(Embedder(used)) == before


REPOSITORY = {
    "pooling": set_json("1_Pooling/config.json", pooling_mode_mean_tokens=False, pooling_mode_cls_token=True),
    "max_seq_length": set_json("sentence_bert_config.json", max_seq_length=8),
    "no modules": lambda path: (path / "modules.json").unlink(),
}


@pytest.mark.parametrize("name", REPOSITORY)
def test_what_a_sentence_transformers_repository_says_is_part_of_the_key(minilm, tmp_path, name):
    path, dataset = tmp_path / "model", Dataset.from_dict({"text": ["a text"]})
    shutil.copytree(minilm, path)

    def key():
        encoder = load_encoder(str(path), dataset, Options())[0]
        return digest([encoder.record, encoder.identity()])

    before = key()
    assert key() == before
    REPOSITORY[name](path)
    assert key() != before


@pytest.mark.parametrize("setting", [{"truncate_dim": 8}, {"default_prompt_name": "query", "prompts": {"query": "q"}}])
def test_settings_of_such_a_repository_that_are_not_applied_are_refused(minilm, tmp_path, setting):
    shutil.copytree(minilm, tmp_path / "model")
    set_json("config_sentence_transformers.json", **setting)(tmp_path / "model")
    with pytest.raises(ValueError, match=rf"{next(iter(setting))}.*Pass the loaded model"):
        load_encoder(str(tmp_path / "model"), Dataset.from_dict({"text": ["a text"]}), Options())


def test_texts_cut_from_the_left_are_embedded_anew(tiny_bert, tmp_path):
    path = tmp_path / "model"
    shutil.copytree(tiny_bert, path)
    dataset = Dataset.from_dict({"text": ["red " * 64 + "blue " * 64]})
    first = add_embeddings(dataset, str(path))["embedding"][0]
    TEXT["truncation_side"](path)
    second = add_embeddings(dataset, str(path))["embedding"][0]
    assert np.abs(np.subtract(first, second)).max() > 0.01


def test_merges_of_a_tokenizer_in_plain_python_are_part_of_its_key(tmp_path):
    (tmp_path / "vocab.json").write_text(json.dumps({"<unk>": 0, "a@@": 1, "b": 2, "ab": 3}))
    found = []
    for merges in ("#version\na b</w>\n", "#version\nb a</w>\n"):
        (tmp_path / "merges.txt").write_text(merges)
        found.append(digest(tokenizer_parts(CTRLTokenizer(tmp_path / "vocab.json", tmp_path / "merges.txt"))))
    assert found[0] != found[1]


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_the_precision_of_products_is_part_of_the_key(tiny_bert, precision):
    before = Hasher.hash(Embedder(tiny_bert))
    torch.set_float32_matmul_precision(precision)
    try:
        assert Hasher.hash(Embedder(tiny_bert)) != before
    finally:
        torch.set_float32_matmul_precision("highest")


# --- files behind the rows ----------------------------------------------------------------------------------------


def brightness(rows):
    paths = [row if isinstance(row, str) else row[0]["path"] if isinstance(row, list) else row["path"] for row in rows]
    return [[float(np.mean(PILImage.open(path)))] for path in paths]


KINDS = {
    "paths": (Value("string"), str),
    "pictures": (Image(), str),
    "films": (List(Image()), lambda path: [str(path)]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_was_overwritten_is_embedded_anew(tmp_path, kind):
    feature, make = KINDS[kind]
    path = tmp_path / "a.png"
    PILImage.new("L", (8, 8), 10).save(path)
    dataset = Dataset.from_dict({"file": [make(path)]}, features=Features({"file": feature}))
    for grey in (10, 10, 200):
        if grey == 200:
            PILImage.new("L", (8, 8), grey).save(path)
        found = add_embeddings(dataset, brightness, input_column="file", cache_dir=str(tmp_path))
        assert found["embedding"][0] == [grey]
    assert len(keys(tmp_path)) == 2


def noise(path, seed):
    PILImage.fromarray(np.random.default_rng(seed).integers(0, 255, (32, 32), dtype=np.uint8)).save(path, "BMP")


def in_zip(path, seed):
    noise(path.with_name("a.bmp"), seed)
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(path.with_name("a.bmp"), "a.bmp")


def as_wave(path, seed):
    soundfile.write(path, np.random.default_rng(seed).normal(0, 0.1, 16_000), 16_000, format="WAV")


def as_film(path, seed):
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=8)
        stream.width = stream.height = 32
        for number in range(4):
            pixels = np.random.default_rng(seed + number).integers(0, 255, (32, 32, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())


FILES = {
    "a picture": (noise, "builtin/hog", Image(decode=False), "{}"),
    "a picture in an archive": (in_zip, "builtin/hog", Image(decode=False), "zip://a.bmp::{}"),
    "a sound": (as_wave, "builtin/logmel", Audio(decode=False), "{}"),
    "a film": (as_film, "tiny_videomae", Video(decode=False), "{}"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_media_that_was_overwritten_with_its_times_kept_is_embedded_anew(request, tmp_path, name):
    write, model, feature, link = FILES[name]
    model = model if model.startswith("builtin") else request.getfixturevalue(model)
    path = tmp_path / "file"
    rows = {"file": [{"bytes": None, "path": link.format(path)}]}
    dataset = Dataset.from_dict(rows).cast_column("file", feature)
    found = []
    for seed in (0, 0, 1):
        if len(found) != 1:
            write(path, seed)
            os.utime(path, ns=(1, 1))
        options = {"cache_dir": str(tmp_path), "num_workers": 0}
        found.append(add_embeddings(dataset, model, **options)["embedding"][0])
    assert found[0] == found[1] != found[2]
    assert len(keys(tmp_path)) == 2


def test_a_relative_path_is_of_the_folder_that_it_is_read_in(tmp_path, monkeypatch):
    dataset = Dataset.from_dict({"file": ["a.bmp"]}, features=Features({"file": Image()}))
    found = []
    for seed, folder in enumerate("ab"):
        (tmp_path / folder).mkdir()
        noise(tmp_path / folder / "a.bmp", seed)
        monkeypatch.chdir(tmp_path / folder)
        found.append(add_embeddings(dataset, "builtin/hog", cache_dir=str(tmp_path), num_workers=0)["embedding"][0])
    assert found[0] != found[1]


def test_a_file_that_comes_later_is_embedded(tmp_path):
    paths = [str(tmp_path / name) for name in ("a.bmp", "b.bmp")]
    noise(paths[0], 0)
    dataset = Dataset.from_dict({"file": paths}, features=Features({"file": Image()}))
    options = {"cache_dir": str(tmp_path), "num_workers": 0, "on_error": "null"}
    assert add_embeddings(dataset, "builtin/hog", **options)["embedding"][1] is None
    noise(paths[1], 1)
    assert add_embeddings(dataset, "builtin/hog", **options)["embedding"][1] is not None


def test_a_folder_of_a_saved_dataset_that_was_replaced_is_embedded_anew(tmp_path):
    for text in ("a", "bcd"):
        shutil.rmtree(tmp_path / "saved", ignore_errors=True)
        Dataset.from_dict({"text": [text]}).save_to_disk(tmp_path / "saved")
        found = add_embeddings(
            load_from_disk(tmp_path / "saved"),
            lambda rows: [[float(len(row))] for row in rows],
            cache_dir=str(tmp_path),
        )
        assert found["embedding"][0] == [len(text)]


def test_a_saved_dataset_whose_file_was_replaced_is_embedded_anew(tmp_path):
    def lengths(rows):
        return [[float(len(row))] for row in rows]

    for name, text in (("one", "a"), ("two", "bcd")):
        Dataset.from_dict({"text": [text]}).save_to_disk(tmp_path / name)
    for expected in (1.0, 1.0, 3.0):
        if expected == 3.0:
            shutil.copy(*(next((tmp_path / name).glob("*.arrow")) for name in ("two", "one")))
        found = add_embeddings(load_from_disk(tmp_path / "one"), lengths, cache_dir=str(tmp_path))
        assert found["embedding"][0] == [expected]
    assert len(keys(tmp_path)) == 2


def test_files_elsewhere_are_not_kept_and_told(tmp_path, caplog):
    dataset = Dataset.from_dict({"file": ["https://example.org/a.png"]})
    add_embeddings(dataset, lambda rows: [[1.0]] * len(rows), cache_dir=str(tmp_path))
    assert "since the data cannot be hashed: https://example.org/a.png lies elsewhere" in caplog.text
    assert keys(tmp_path) == set()
