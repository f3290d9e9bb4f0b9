"""The public names, and what importing them loads."""

import subprocess
import sys
from importlib import import_module
from importlib.metadata import version
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
def test_every_name_is_one_of_its_wing_and_documented(name):
    value = getattr(hf_curriculum, name)
    wing = value.__module__.split(".")[1]
    assert getattr(import_module(f"hf_curriculum.{wing}"), name) is value
    assert value.__doc__ and value.__doc__.strip()


def test_the_version_is_that_of_the_package():
    assert hf_curriculum.__version__ == version("hf-curriculum")


def test_dir_lists_the_public_names():
    assert sorted(dir(hf_curriculum)) == hf_curriculum.__all__


@pytest.mark.parametrize("name", ["CurriculumTrainers", "torch", "TYPE_HINTS", "_private"])
def test_unknown_attribute_is_an_attribute_error(name):
    with pytest.raises(AttributeError, match=f"hf_curriculum.*attribute.*{name}"):
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
    "code",
    [
        "import hf_curriculum",
        "import hf_curriculum.cli",
        "dir(__import__('hf_curriculum'))",
        "import hf_curriculum.training, hf_curriculum.scoring, hf_curriculum.embedding",
    ],
)
def test_import_is_light(code):
    assert loaded_by(code) == []


@pytest.mark.slow
def test_the_check_of_a_light_import_can_fail():
    assert {"torch", "transformers", "datasets"} <= set(
        loaded_by("import hf_curriculum\nhf_curriculum.CurriculumTrainer")
    )
