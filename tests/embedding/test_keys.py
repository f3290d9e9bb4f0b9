"""Keys: whatever could change a vector changes the key, and what could not does not; between interpreters, too."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset, Features, Image, List, Value, load_from_disk
from datasets.fingerprint import Hasher
from launching import environment
from PIL import Image as PILImage
from transformers import CTRLTokenizer

from hf_curriculum import Embedder, add_embeddings
from hf_curriculum.encoders import digest
from hf_curriculum.encoders.identity import tokenizer_parts
from hf_curriculum.encoders.resolve import Options, load_encoder

pytestmark = pytest.mark.usefixtures("own_cache")


def keys(cache):
    return {folder.name for folder in Path(cache).glob("hf_curriculum/*")}


# --- the user's code ----------------------------------------------------------------------------------------------

OWN = '''"""Mine."""
import functools
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
    files = {"own": OWN, "helper": HELPER, "late": LATE}
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
}
PICTURES = {
    "mean": set_json("preprocessor_config.json", image_mean=[0.1, 0.2, 0.3]),
    "filter": set_json("preprocessor_config.json", resample=0),
    "factor": set_json("preprocessor_config.json", rescale_factor=0.5),
}
SOUNDS = {"normalisation": set_json("preprocessor_config.json", do_normalize=False)}
EDITED = [
    *(("tiny_bert", "sentences", name, edit) for name, edit in TEXT.items()),
    *(("tiny_dinov2", "digits", name, edit) for name, edit in PICTURES.items()),
    *(("tiny_wav2vec2", "clips", name, edit) for name, edit in SOUNDS.items()),
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
