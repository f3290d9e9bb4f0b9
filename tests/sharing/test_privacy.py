"""What is pushed in public names no folder of who pushed it."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from datasets import Audio, Dataset, Features, Image, Value
from hub_client import client
from hub_server import hub
from PIL import Image as PILImage
from transformers import AutoModel, BertConfig, BertModel

from hf_curriculum import DifficultyScorer, add_difficulty, provenance, report, show_extremes
from hf_curriculum.sharing.card_section import card_section


@pytest.fixture
def home(tmp_path):
    """The folder of a user whose name nobody is to learn."""
    path = tmp_path / "alice-of-the-tests"
    path.mkdir()
    return path


@pytest.fixture
def own_bert(home, tiny_bert):
    return str(shutil.copytree(tiny_bert, home / "models" / "my-bert"))


def pictures(home, rows=12):
    paths = [str(home / f"{row}.png") for row in range(rows)]
    for row, path in enumerate(paths):
        PILImage.fromarray(np.random.default_rng(row).integers(0, 255, (32, 32, 3), np.uint8)).save(path)
    return paths


def test_record_card_report_and_scorer_know_a_local_model_by_name_and_weights(home, own_bert, sentences, tmp_path):
    scorer = DifficultyScorer(3)
    scored = add_difficulty(sentences, own_bert, scorer=scorer)
    record = provenance(scored)["embedding"]
    assert record["model_id"] == "my-bert" and record["local"] is True
    assert re.fullmatch("[0-9a-f]{16}", record["weights"])
    scorer.save_pretrained(tmp_path / "scorer")
    written = [path.read_bytes() for path in (tmp_path / "scorer").iterdir()]
    written += [report(scored, tmp_path / "report.html").read_bytes(), repr(scored.features).encode()]
    card = card_section({"train": scored}, "me/data")
    assert f'# model: "my-bert, a local folder, weights {record["weights"]}"' in card
    assert re.search(r'add_difficulty\(\s*dataset,\s*"path/to/my-bert",', card)
    for content in [*written, card.encode(), repr(scorer).encode()]:
        assert home.name.encode() not in content


def test_a_local_model_is_the_same_elsewhere_and_told_from_another_of_its_name(own_bert, sentences, tmp_path):
    scorer = DifficultyScorer(3)
    wanted = add_difficulty(sentences, own_bert, scorer=scorer)
    moved = shutil.copytree(own_bert, tmp_path / "elsewhere" / "renamed")
    scorer.save_pretrained(tmp_path / "scorer")
    loaded = DifficultyScorer.from_pretrained(tmp_path / "scorer")
    assert add_difficulty(sentences, str(moved), scorer=loaded)["difficulty"][:] == wanted["difficulty"][:]

    other = shutil.copytree(own_bert, tmp_path / "other" / "my-bert")
    model = AutoModel.from_pretrained(other)
    model.embeddings.word_embeddings.weight.data[5, 0] += 1
    model.save_pretrained(other)
    with pytest.raises(ValueError, match="fitted on other embeddings: weights was '[0-9a-f]{16}' and is"):
        add_difficulty(sentences, str(other), scorer=loaded)


def test_a_model_of_the_hub_is_told_from_a_local_one_of_its_name(tiny_dino, digits):
    scorer = DifficultyScorer(3)
    add_difficulty(digits, "facebook/dino-vits16", scorer=scorer)
    with pytest.raises(ValueError, match="other embeddings: local was None and is True; model_id was 'facebook/dino"):
        add_difficulty(digits, tiny_dino, scorer=scorer)


def test_the_folder_may_be_given_in_any_way(own_bert, sentences, monkeypatch):
    wanted = provenance(add_difficulty(sentences, own_bert))["embedding"]
    monkeypatch.chdir(Path(own_bert).parent)
    for name in ("my-bert", "./my-bert/", "../models/my-bert"):
        assert provenance(add_difficulty(sentences, name))["embedding"] == wanted
    monkeypatch.chdir(own_bert)
    assert provenance(add_difficulty(sentences, "."))["embedding"] == wanted


def test_a_clusterer_that_holds_a_path_is_named_without_it(home):
    from sklearn.cluster import KMeans

    class Cached(KMeans):
        def __init__(self, n_clusters=2, memory=None):
            super().__init__(n_clusters, random_state=0)
            self.memory = memory

    vectors = np.random.default_rng(0).normal(size=(24, 4)).astype(np.float32)
    scorer = DifficultyScorer(clusterer=Cached(3, memory=str(home / "cache")))
    scored = add_difficulty(Dataset.from_dict({"embedding": vectors}), scorer=scorer)
    for name in (provenance(scored)["clusterer"], scorer._stored().clusterer):
        assert " ".join(name.split()) == "Cached(memory='cache', n_clusters=3)"


def test_rows_that_cannot_be_read_are_shown_without_their_folder(home, tmp_path):
    paths = pictures(home)
    dataset = Dataset.from_dict({"image": paths}, features=Features({"image": Image()}))
    scored = add_difficulty(dataset, "builtin/hog", n_clusters=1)
    Path(paths[0]).unlink()
    Path(paths[1]).write_bytes(b"no picture")
    page = report(scored, tmp_path / "report.html").read_text()
    assert "Cannot be read" in page and home.name not in page
    figure = show_extremes(scored)
    texts = [text.get_text() for axes in figure.axes for text in [*axes.texts, axes.title]]
    assert any("Cannot be read" in text for text in texts) and not any(home.name in text for text in texts)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["image", "audio"])
def test_nothing_that_is_uploaded_names_a_folder(home, tmp_path, own_bert, kind):
    if kind == "image":
        dataset = Dataset.from_dict({"image": pictures(home)}, features=Features({"image": Image()}))
    else:
        paths = [str(home / f"{row}.wav") for row in range(12)]
        for row, path in enumerate(paths):
            soundfile.write(path, np.random.default_rng(row).normal(size=8_000).clip(-1, 1), 16_000)
        dataset = Dataset.from_dict({"audio": paths}).cast_column("audio", Audio(decode=False))
    dataset = dataset.add_column("text", [f"red cat {row}" for row in range(12)]).cast_column("text", Value("string"))
    scored = add_difficulty(dataset, own_bert, input_column="text", n_clusters=2)
    scored.save_to_disk(home / "scored")
    (tmp_path / "user").mkdir()
    with hub() as server, client(server, tmp_path / "user") as user:
        user.run(f"""
from datasets import load_from_disk
from hf_curriculum import DifficultyScorer, add_difficulty, push_scored
scored = load_from_disk({str(home / "scored")!r})
push_scored(scored, "me/data")
scorer = DifficultyScorer(2)
add_difficulty(scored, scorer=scorer)
scorer.push_to_hub("me/scorer")
""")
        files = {**server.repos["datasets/me/data"].files(), **server.repos["models/me/scorer"].files()}
    assert {"README.md", "model.safetensors", "config.json"} < files.keys()
    found = [path for path, content in files.items() if home.name.encode() in content]
    assert found == []


def test_a_model_without_a_folder_of_its_own_has_no_hash():
    from hf_curriculum.encoders.hub import origin

    model = BertModel(BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8))
    assert origin("google/bert", model) == {"model_id": "google/bert"}
