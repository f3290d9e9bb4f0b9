"""The public names, what importing them loads, and the order in which modules may import each other."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import hf_curriculum

PACKAGE = Path(hf_curriculum.__file__).parent
HEAVY = ["torch", "transformers", "datasets", "accelerate", "sklearn", "matplotlib"]

# --- public names -------------------------------------------------------------------------------------------------


def test_all_is_sorted_and_every_name_can_be_imported():
    assert hf_curriculum.__all__ == sorted(set(hf_curriculum.__all__))
    assert len(hf_curriculum.__all__) >= 13
    for name in hf_curriculum.__all__:
        assert getattr(hf_curriculum, name).__name__ == name


@pytest.mark.parametrize("name", hf_curriculum.__all__)
def test_every_name_comes_from_the_package_and_is_documented(name):
    value = getattr(hf_curriculum, name)
    assert value.__module__ == f"hf_curriculum.{hf_curriculum._EXPORTS[name]}"
    assert value.__doc__ and value.__doc__.strip()


def test_type_checkers_see_the_names_that_are_exported():
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    [block] = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    seen = {
        alias.asname: (node.module, alias.name)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == {name: (f"hf_curriculum.{module}", name) for name, module in hf_curriculum._EXPORTS.items()}


def test_dir_lists_the_public_names():
    assert sorted(dir(hf_curriculum)) == sorted([*hf_curriculum.__all__, "__version__"])


@pytest.mark.parametrize("name", ["CurriculumTrainers", "torch", "TYPE_HINTS", "_private"])
def test_unknown_attribute_is_an_attribute_error(name):
    with pytest.raises(AttributeError, match=f"module 'hf_curriculum' has no attribute '{name}'"):
        getattr(hf_curriculum, name)


def test_package_is_marked_as_typed():
    assert (PACKAGE / "py.typed").is_file()


# --- what an import loads -----------------------------------------------------------------------------------------


def loaded_by(code):
    """Those of the heavy modules that a fresh interpreter has loaded after ``code``."""
    script = f"import sys\n{code}\nprint(*(name for name in {HEAVY} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.parametrize(
    "code", ["import hf_curriculum", "import hf_curriculum.cli", "dir(__import__('hf_curriculum'))"]
)
def test_import_is_light(code):
    assert loaded_by(code) == []


def test_the_check_of_a_light_import_can_fail():
    assert {"torch", "transformers", "datasets"} <= set(
        loaded_by("import hf_curriculum\nhf_curriculum.CurriculumTrainer")
    )


# --- architecture: a module imports only from those above it ------------------------------------------------------

LAYERS = [
    "_optional",
    "columns",
    "config",
    "permutation",
    "ranking",
    "solver",
    "schedule",
    "grouping",
    "sampler",
    "coverage",
    "processes",
    "convert",
    "encoders.base",
    "encoders.inputs",
    "encoders.hub",
    "encoders.sentence",
    "encoders.image",
    "encoders.audio",
    "encoders.video",
    "encoders.text",
    "encoders.module",
    "encoders.builtin",
    "encoders",
    "windows",
    "forward",
    "shards",
    "job",
    "embeddings",
    "points",
    "clusters",
    "choice",
    "difficulty",
    "prototypes",
    "stored",
    "card",
    "shareable",
    "scorer",
    "scoring",
    "checkpoint",
    "trainer",
    "examples",
    "summary",
    "plots",
    "extraction",
    "weights_file",
    "curriculum_learning",
    "dataset_card",
    "hub",
    "page",
    "sources",
    "demo",
    "console",
    "cli",
]


def module_of(path):
    """Dotted name below the package; a package's ``__init__`` has the name of its folder."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(code):
    """Modules of the package that ``code`` imports, wherever it does: at the top, in functions, for type checkers."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            package, _, rest = name.partition(".")
            if package == "hf_curriculum" and rest != "__version__":
                yield layer_of(rest)


def layer_of(name):
    """The module that ``name`` is or lies in; a public name counts as the module that it comes from."""
    name = hf_curriculum._EXPORTS.get(name, name)
    return name if name in LAYERS else name.rpartition(".")[0]


def not_allowed(module, code):
    """What ``module`` imports from its own layer or from below."""
    return set(imports(code)) - set(LAYERS[: LAYERS.index(module)])


FILES = {module_of(path): path for path in PACKAGE.rglob("*.py") if module_of(path)}


def test_layers_are_the_modules_that_there_are():
    assert sorted(LAYERS) == sorted(FILES)


@pytest.mark.parametrize("module", sorted(FILES))
def test_module_imports_only_from_those_above_it(module):
    assert not_allowed(module, FILES[module].read_text()) == set()


@pytest.mark.parametrize(
    "code, found",
    [
        ("from hf_curriculum.trainer import CurriculumMixin", {"trainer"}),
        ("from hf_curriculum import CurriculumTrainer", {"trainer"}),
        ("from hf_curriculum import plots", {"plots"}),
        ("import hf_curriculum.embeddings", {"embeddings"}),
        ("import numpy, hf_curriculum.embeddings as e", {"embeddings"}),
        ("from hf_curriculum.encoders import resolve", {"encoders"}),
        ("from hf_curriculum.encoders import text", {"encoders.text"}),
        ("from hf_curriculum.encoders.base import pool", {"encoders.base"}),
        ("def run():\n    from hf_curriculum.scoring import add_difficulty", {"scoring"}),
        ("from hf_curriculum.columns import require_column", {"columns"}),  # its own
        ("from hf_curriculum._optional import require_extra", set()),
        ("from hf_curriculum import __version__", set()),
        ("import numpy\nfrom datasets import Dataset", set()),
    ],
)
def test_the_check_of_the_layers_finds_every_form_of_import(code, found):
    assert not_allowed("columns", code) == found
