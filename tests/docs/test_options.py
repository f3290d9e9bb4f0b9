"""Tables of options name what the functions take, with the defaults that they have."""

import re
from ast import literal_eval
from inspect import signature
from pathlib import Path

import pytest

from hf_curriculum import CurriculumConfig, add_difficulty, add_embeddings

ROOT = Path(__file__).parents[2]


def tables(page, heading) -> list[dict[str, object]]:
    """Options and defaults of each table of options under a heading."""
    section = (ROOT / page).read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    found = re.findall(r"^\| option \| default \|.*\n\|[-|]+\n((?:\|.*\n)+)", section, re.MULTILINE)
    return [dict(pair for row in table.splitlines() for pair in options(row)) for table in found]


def options(row) -> list[tuple[str, object]]:
    """A row may have several options with a default each, or with one for all."""
    names, defaults, _ = row.strip("| ").split(" | ", 2)
    names, defaults = (cell.replace("`", "").split(", ") for cell in (names, defaults))
    defaults = defaults * len(names) if len(defaults) == 1 else defaults
    return [(name, literal_eval(default)) for name, default in zip(names, defaults, strict=True)]


def taken(function) -> dict[str, object]:
    """Options of a function with their defaults."""
    parameters = {name: found.default for name, found in signature(function).parameters.items()}
    return {name: parameters[name] for name in parameters.keys() - {"dataset", "model_id", "embedding_options"}}


def test_all_options_of_embedding_and_scoring_are_in_their_tables():
    assert tables("docs/embedding.md", "Options") == [taken(add_embeddings), taken(add_difficulty)]


def test_the_readme_has_some_of_them():
    (few,) = tables("README.md", "Score")
    assert few and few.items() <= (taken(add_embeddings) | taken(add_difficulty)).items()


def test_all_options_of_the_curriculum_are_in_the_readme():
    (written,) = tables("README.md", "Train")
    assert written == pytest.approx(taken(CurriculumConfig), abs=1e-3)  # 1 - 1/e is written as 0.632
