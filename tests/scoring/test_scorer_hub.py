"""push_to_hub and from_pretrained over HTTP: the client is the real one, the Hub is on the loopback interface."""

import json
import subprocess
import sys

import pytest
from hub_client import environment
from hub_server import Repo, hub

pytestmark = pytest.mark.costly

SCRIPT = """
import json
import numpy as np
from hf_curriculum import DifficultyScorer
from huggingface_hub import HfApi

rows = np.random.default_rng(0).normal(size=(60, 5))
found = {}

def same(one, other):
    mine, theirs = vars(one.score(rows)), vars(other.score(rows))
    return all(np.array_equal(mine[name], theirs[name]) for name in mine)

def error(source, **options):
    try:
        DifficultyScorer.from_pretrained(source, **options)
    except Exception as error:
        return f"{type(error).__name__}: {error}"

first, second = DifficultyScorer(3).fit(rows), DifficultyScorer(5, normalize="rank").fit(rows)
first.push_to_hub("me/scorer")
commit = HfApi().model_info("me/scorer").sha
found["url"] = second.push_to_hub("me/scorer", commit_message="More prototypes")
found["newest"] = same(DifficultyScorer.from_pretrained("me/scorer"), second)
found["revision"] = same(DifficultyScorer.from_pretrained("me/scorer", revision=commit, cache_dir="other"), first)
found["cached"] = same(DifficultyScorer.from_pretrained("me/scorer", local_files_only=True), second)
found["unknown"] = error("me/unknown")
found["unknown revision"] = error("me/scorer", revision="v9")
found["not cached"] = error("me/scorer", local_files_only=True, cache_dir="empty")
found["empty"] = error("me/empty")
try:
    DifficultyScorer(2).push_to_hub("me/unfitted")
except ValueError as error:
    found["unfitted"] = str(error)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def pushed(tmp_path_factory):
    """What the script found, and the server after it."""
    folder = tmp_path_factory.mktemp("hub")
    with hub() as server:
        server.repos["models/me/empty"] = Repo()
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env=environment(server, folder),
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr + "\n".join(server.log)
        yield json.loads(done.stdout), server


@pytest.mark.parametrize("which", ["newest", "revision", "cached"])
def test_what_comes_back_scores_the_same(pushed, which):
    assert pushed[0][which] is True


def test_the_repository_has_the_files_of_a_saved_scorer(pushed):
    found, server = pushed
    repo = server.repos["models/me/scorer"]
    assert sorted(repo.commits[repo.at("main")]) == ["README.md", "config.json", "model.safetensors"]
    assert found["url"].startswith(f"{server.url}/") and "me/scorer" in found["url"]
    assert len(repo.commits) == 3  # the empty first one, and two pushes
    assert b'from_pretrained("me/scorer")' in repo.commits[repo.at("main")]["README.md"]
    assert any(line.startswith("PUT /large/") for line in server.log)


def test_only_the_two_files_are_downloaded(pushed):
    got = {line.rpartition("/")[2] for line in pushed[1].log if line.startswith("GET") and "/resolve/" in line}
    assert got == {"config.json", "model.safetensors"}


@pytest.mark.parametrize("which", ["unknown", "unknown revision", "not cached"])
def test_what_cannot_be_had_is_named(pushed, which):
    source = "me/unknown" if which == "unknown" else "me/scorer"
    assert pushed[0][which].startswith(f"FileNotFoundError: '{source}' is neither a folder here nor a repository")


def test_a_repository_without_a_scorer_says_so(pushed):
    assert "has no config.json, so no scorer is stored there" in pushed[0]["empty"]


def test_no_repository_is_made_for_an_unfitted_scorer(pushed):
    found, server = pushed
    assert "call fit(embeddings) first" in found["unfitted"]
    assert sorted(server.repos) == ["models/me/empty", "models/me/scorer"]
