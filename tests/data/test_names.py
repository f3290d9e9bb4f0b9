"""Names that nothing can bear: each place that takes one says so, in a line that can be read."""

from pathlib import Path

import pytest
from datasets import Dataset

from hf_curriculum import DifficultyScorer, add_difficulty, push_scored
from hf_curriculum.cli.sources import load, require_output

TEXTS = Dataset.from_dict({"embedding": [[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], "text": ["a", "b", "c"]})
NAMES = {
    "long": "x" * 5_000,
    "long part": "me/" + "x" * 300,
    "long path": "/".join(["x" * 200] * 30),
    "empty": "",
}


def scored():
    return add_difficulty(TEXTS, n_clusters=1)


PLACES = {
    "push_scored": lambda name: push_scored(scored(), name),
    "push_to_hub": lambda name: DifficultyScorer(1).fit([[0.0, 1.0], [1.0, 0.0]]).push_to_hub(name),
    "from_pretrained": DifficultyScorer.from_pretrained,
    "add_difficulty": lambda name: add_difficulty(TEXTS.select_columns("text"), name),
    "cli dataset": lambda name: load(name, None),
    "cli output": lambda name: require_output(Path(name), "data"),
}


@pytest.mark.parametrize(
    ("place", "name"),
    [(place, name) for place in PLACES for name in NAMES if (place, name) != ("cli output", "empty")],  # that is "."
)
def test_a_name_that_nothing_can_bear_is_told(place, name):
    with pytest.raises(ValueError, match=r"is empty; name|has [\d,]+ characters, more than") as found:
        PLACES[place](NAMES[name])
    assert len(str(found.value)) < 250


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "me/a/b", "-x", "a..b", "ключ"])
@pytest.mark.parametrize("place", [place for place in PLACES if place != "cli output"])
def test_a_name_that_no_repository_has_is_told(place, name):
    with pytest.raises((ValueError, FileNotFoundError)) as found:
        PLACES[place](name)
    assert repr(name)[1:-1] in str(found.value) or name in str(found.value)
