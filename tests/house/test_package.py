"""What is shipped: a source archive that is small and whole, and a wheel that is made from it."""

import re
import subprocess
import sys
import tarfile
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest
from launching import environment

ROOT = Path(__file__).parents[2]
PACKAGE = {str(path.relative_to(ROOT)) for path in (ROOT / "hf_curriculum").rglob("*") if path.is_file()}
SHIPPED = {name for name in PACKAGE if "__pycache__" not in name}

pytestmark = pytest.mark.slow


def build(kind, source, folder) -> Path:
    pytest.importorskip("hatchling", reason="hatchling builds the archives")
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(folder)]
    subprocess.run(command, cwd=source, env=environment(), check=True, capture_output=True)
    (archive,) = folder.iterdir()
    return archive


@pytest.fixture(scope="module")
def sdist(tmp_path_factory) -> Path:
    return build("sdist", ROOT, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def unpacked(sdist, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (source,) = folder.iterdir()
    return source


@pytest.fixture(scope="module")
def wheel(unpacked, tmp_path_factory) -> Path:
    return build("wheel", unpacked, tmp_path_factory.mktemp("wheel"))


def test_the_source_archive_is_small(sdist):
    assert sdist.stat().st_size < 1_000_000


def test_the_source_archive_has_what_a_contributor_needs(unpacked):
    names = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()}
    assert {name for name in names if "/" not in name} == {
        *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "pyproject.toml"),
        *("constraints.txt", "constraints-transformers4.txt", ".gitignore", "PKG-INFO"),
    }
    assert {name for name in names if name.startswith("hf_curriculum/")} == SHIPPED
    tests, docs = ROOT.glob("tests/**/*.py"), ROOT.glob("docs/*.*")
    here = {str(path.relative_to(ROOT)) for path in (*tests, *docs)}
    assert here - names == {name for name in here if re.search("notebooks|executing", name)}
    assert {name for name in names if name.endswith(".png")} == {name for name in here if name.endswith(".png")}


def test_the_sources_collect_their_own_tests(unpacked):
    command = [sys.executable, "-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider", "-m", ""]
    found = subprocess.run(command, cwd=unpacked, env=environment(), capture_output=True, text=True)
    assert found.returncode == 0, found.stdout
    assert "tests/house/test_package.py" in found.stdout and "tests/docs/test_readme.py" in found.stdout


def test_the_wheel_has_the_package_and_nothing_else(wheel):
    with ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {name for name in names if ".dist-info/" not in name} == SHIPPED
    for kind in (".pyi", "py.typed", "report.html", "report.css", "report.js"):
        assert any(name.endswith(kind) for name in SHIPPED)


def test_the_wheel_hands_out_every_public_name(wheel, tmp_path):
    with ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = "import hf_curriculum as h; print(h.__file__, *(getattr(h, name) is not None for name in h.__all__))"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment(), check=True, capture_output=True, text=True
    )
    file, *names = found.stdout.split()
    assert Path(file).is_relative_to(tmp_path) and set(names) == {"True"}


def test_the_wheel_says_where_it_is_from(wheel):
    with ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode())
    urls = dict(line.split(", ") for line in metadata.get_all("Project-URL"))
    assert urls.keys() == {"Homepage", "Repository", "Documentation", "Changelog", "Issues"}
    assert all(url.startswith(urls["Repository"]) for url in urls.values())
    assert metadata["Author"] == "The hf_curriculum authors"
    versions = {line.rpartition(":: ")[2] for line in metadata.get_all("Classifier") if "Python :: 3." in line}
    assert versions == {"3.10", "3.11", "3.12", "3.13"}
    assert metadata.get_payload() == (ROOT / "README.md").read_text()
