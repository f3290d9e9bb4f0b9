"""The house: a wing imports only from wings above it, a file only from files above it in its wing."""

import ast
import re
from pathlib import Path

import pytest

import hf_curriculum

PACKAGE = Path(hf_curriculum.__file__).parent

GROUND = ["_version", "_optional", "files", "processes", "markdown"]
"""What every wing stands on."""

HOUSE = {
    "data": [
        "options",
        "columns",
        "quantiles",
        "splits",
        "sorted_files",
        "fields",
        "record",
        "pictures",
        "opening",
        "media",
    ],
    "encoders": [
        "packages",
        "reach",
        "tokens",
        "identity",
        "base",
        "hub",
        "sentence",
        "image",
        "audio",
        "video",
        "text",
        "callable",
        "builtin",
        "resolve",
    ],
    "embedding": ["sources", "forward", "rows", "prefetch", "shards", "column", "batches", "embedder", "embed"],
    "scoring": [
        "transfer",
        "points",
        "inputs",
        "difficulty",
        "duplicates",
        "kmeans",
        "choice",
        "clusters",
        "prototypes",
        "margin",
        "scores",
        "scorer_config",
        "scorer_files",
        "model_card",
        "pretrained",
        "scorer",
        "score",
        "ray_pool",
        "parquet_input",
        "parquet_output",
        "parquet_work",
        "parquet",
    ],
    "training": [
        "config",
        "bins",
        "temperature",
        "permutation",
        "schedule",
        "draws",
        "lengths",
        "packing",
        "sampler",
        "versions",
        "trainer_sampler",
        "groups",
        "copies",
        "journal",
        "sorted_parquet",
        "stream_rows",
        "stream",
        "stream_training",
        "coverage",
        "drawn",
        "checksums",
        "checkpoint",
        "weights",
        "trackers",
        "given_difficulty",
        "resume",
        "learned",
        "running_means",
        "row_losses",
        "learning",
        "resumable",
        "trainer_checks",
        "trainer",
    ],
    "viewing": ["thumbnails", "summary", "facts", "doubts", "preview", "embedding_map", "plots", "report_page"],
    "sharing": [
        "card_advice",
        "card_examples",
        "card_merge",
        "card_section",
        "hub_errors",
        "sorted_upload",
        "push",
    ],
    "cli": ["console", "options", "sources", "demo", "score", "app"],
    "curriculum_learning": ["features", "pickled", "weights_file", "reference"],
}
"""The wings from the first floor up, and the files of each from its own ground floor up."""


def handed_out(wing):
    """Names that a wing's ``__init__`` hands out, and the file of each."""
    return {
        alias.asname: node.module
        for node in ast.parse((PACKAGE / wing / "__init__.pyi").read_text()).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def imports(code):
    """Module and name of each import from the package, wherever it stands: at the top, in functions."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names if alias.name.split(".")[0] == "hf_curriculum")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            if node.module.split(".")[0] == "hf_curriculum":
                yield from ((node.module, alias.name) for alias in node.names)


def is_allowed(module, name, wing, file):
    """Whether ``file`` of ``wing`` may import ``name`` from ``module``."""
    _, *where = module.split(".")
    if len(where) == 1 and where[0] in GROUND:
        return True
    if len(where) == 2 and where[0] == wing:
        files = HOUSE[wing]
        return where[1] in files[: files.index(file)]
    wings = list(HOUSE)
    return len(where) == 1 and where[0] in wings[: wings.index(wing)] and name in handed_out(where[0])


FILES = [(wing, file) for wing, files in HOUSE.items() for file in files]


def test_the_house_is_the_one_that_stands():
    found = {
        path.name: {file.stem for file in path.glob("*.py") if not file.stem.startswith("__")}
        for path in PACKAGE.iterdir()
        if (path / "__init__.py").exists()
    }
    assert {wing: set(files) for wing, files in HOUSE.items()} == found
    assert {path.stem for path in PACKAGE.glob("*.py")} == {*GROUND, "__init__"}


@pytest.mark.parametrize("wing, file", FILES)
def test_a_file_imports_only_from_what_stands_above_it(wing, file):
    code = (PACKAGE / wing / f"{file}.py").read_text()
    assert [found for found in imports(code) if not is_allowed(*found, wing, file)] == []


@pytest.mark.parametrize("file", GROUND)
def test_the_ground_stands_on_nothing(file):
    assert list(imports((PACKAGE / f"{file}.py").read_text())) == []


@pytest.mark.parametrize(
    "code, allowed",
    [
        ("from hf_curriculum.data import read_difficulty", True),
        ("from hf_curriculum.data.columns import read_difficulty", False),  # past the wing's door
        ("from hf_curriculum.data import columns", False),
        ("from hf_curriculum.training.bins import ordered", True),
        ("from hf_curriculum.training.sampler import CurriculumSampler", False),  # itself
        ("from hf_curriculum.training.trainer import CurriculumTrainer", False),  # below it
        ("from hf_curriculum.viewing import report", False),
        ("def run():\n    from hf_curriculum.sharing import push_scored", False),
        ("from hf_curriculum import CurriculumTrainer", False),
        ("import numpy, hf_curriculum.viewing.plots as plots", False),
        ("from hf_curriculum._optional import require_extra", True),
        ("import numpy\nfrom datasets import Dataset", True),
    ],
)
def test_the_check_of_the_house_finds_every_form_of_import(code, allowed):
    assert all(is_allowed(*found, "training", "sampler") for found in imports(code)) == allowed


@pytest.mark.parametrize("wing", HOUSE)
def test_a_wing_says_in_one_sentence_what_it_is_for(wing):
    doc = ast.get_docstring(ast.parse((PACKAGE / wing / "__init__.py").read_text()))
    assert re.fullmatch(r"[A-Z][^\n]*\.", doc.split("\n\n")[0])


@pytest.mark.parametrize("wing", [wing for wing in HOUSE if wing != "cli"])
def test_no_file_bears_the_name_of_what_its_wing_hands_out(wing):
    assert not handed_out(wing).keys() & set(HOUSE[wing])


@pytest.mark.parametrize("wing", [wing for wing in HOUSE if wing not in ("cli", "curriculum_learning")])
def test_a_wing_hands_out_what_other_wings_or_users_take_and_no_more(wing):
    code = [(PACKAGE / other / f"{file}.py").read_text() for other, file in FILES if other != wing]
    taken = {name for text in code for module, name in imports(text) if module == f"hf_curriculum.{wing}"}
    assert handed_out(wing).keys() == taken | {name for name in hf_curriculum.__all__ if name in handed_out(wing)}


TESTS = Path(__file__).parents[1]


def test_tests_stand_in_the_wings_of_what_they_test():
    folders = {path.name for path in TESTS.iterdir() if path.is_dir() and not path.name.startswith((".", "__"))}
    assert folders == {*HOUSE, "helpers", "house", "docs", "benchmarks", "space"}
    assert [path.name for path in TESTS.glob("*.py")] == ["conftest.py"]
