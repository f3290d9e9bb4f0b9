"""What a repository says of its pooling is read over HTTP and from the cache: the client is the real one."""

import json
import subprocess
import sys

import pytest
from hub_client import environment
from hub_server import Repo, hub
from huggingface_hub import constants

from hf_curriculum.encoders.sentence import SentenceModules

MODULES = [
    {"path": "", "type": "sentence_transformers.models.Transformer"},
    {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
]
FILES = {
    "modules.json": MODULES,
    "1_Pooling/config.json": {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False},
    "sentence_bert_config.json": {"max_seq_length": 77},
}
FOUND = {"pooling": "cls", "normalize": True, "max_length": 77}
SCRIPT = """
import dataclasses, json, sys
from hf_curriculum.encoders.sentence import SentenceModules

found = {}
for name in ("me/sentences", "me/plain", "me/unknown"):
    for revision in (None, sys.argv[1]):
        try:
            loaded = SentenceModules.load({"pretrained_model_name_or_path": name, "revision": revision})
        except Exception as error:
            found[f"{name} {revision}"] = type(error).__name__
        else:
            found[f"{name} {revision}"] = loaded and dataclasses.asdict(loaded)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """What is found online, then offline; and the first commit of the repository, without modules."""
    folder = tmp_path_factory.mktemp("hub")
    with hub() as server:
        first = next(iter(Repo().commits))
        server.repos |= {"models/me/sentences": Repo(), "models/me/plain": Repo()}
        for path, content in FILES.items():
            server.repos["models/me/sentences"].write(path, json.dumps(content).encode())
        found = [run(folder, first, environment(server, folder) | more) for more in ({}, {"HF_HUB_OFFLINE": "1"})]
    return first, *found


def run(folder, revision, variables):
    command = [sys.executable, "-c", SCRIPT, revision]
    done = subprocess.run(command, env=variables, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_modules_are_read_from_the_hub_and_offline_from_the_cache(loaded):
    _, online, offline = loaded
    assert online["me/sentences None"] == offline["me/sentences None"] == FOUND


def test_a_repository_without_modules_has_none_online_and_offline(loaded):
    first, online, offline = loaded
    for found in (online, offline):
        assert found["me/plain None"] is None and found[f"me/sentences {first}"] is None


def test_a_repository_that_there_is_not_is_an_error_online(loaded):
    assert loaded[1]["me/unknown None"] == "RepositoryNotFoundError"


def test_modules_are_read_from_a_folder(tmp_path):
    source = {"pretrained_model_name_or_path": str(tmp_path), "revision": None}
    assert SentenceModules.load(source) is None
    for path, content in FILES.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(json.dumps(content))
    assert vars(SentenceModules.load(source)) == FOUND


def test_modules_that_cannot_be_had_are_told(tmp_path, monkeypatch, caplog):
    repository = tmp_path / "models--me--model"
    snapshot = repository / "snapshots" / "0123"
    for folder in (repository / "refs", snapshot):
        folder.mkdir(parents=True)
    (repository / "refs" / "main").write_text("0123")
    (snapshot / "config.json").write_text("{}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    source = {"pretrained_model_name_or_path": "me/model", "revision": None}
    assert SentenceModules.load(source) is None
    assert "Whether me/model has a modules.json" in caplog.text and "pooling=" in caplog.text
    caplog.clear()
    (snapshot / "README.md").write_text("")  # a download of the whole repository
    assert SentenceModules.load(source) is None and caplog.text == ""
