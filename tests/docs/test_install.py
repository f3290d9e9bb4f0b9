"""Every line that installs the package is the one that works today."""

import re
from pathlib import Path

from hf_curriculum._optional import SOURCE, install_line

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "notebooks").glob("*.ipynb"))]
LINE = re.compile(
    r"""pip install (?:-\S+ )*\\?['"](hf-curriculum(?:\[\w+\])?[^'"\\]*)|pip install (?:-\S+ )*(hf[-_]curriculum)"""
)


def test_each_page_says_the_line_that_works():
    found = [(path.name, one or other) for path in PAGES for one, other in LINE.findall(path.read_text())]
    assert len({page for page, _ in found}) >= 3  # without the notebooks, in the source archive
    for page, line in found:
        extra = re.search(r"\[(\w+)\]", line)
        assert f"'{line}'" in install_line(extra[1] if extra else ""), page


def test_the_package_itself_has_one_such_line():
    lines = {
        path.name: hits
        for path in (ROOT / "hf_curriculum").rglob("*.py")
        if (hits := re.findall("pip install[^\n]*hf-curriculum", path.read_text())) and path.name != "_optional.py"
    }
    assert lines == {}


def test_the_source_is_the_repository_of_the_project():
    urls = (ROOT / "pyproject.toml").read_text()
    assert not SOURCE or SOURCE.removeprefix("git+") in urls
