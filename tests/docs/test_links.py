"""Links, pictures and paths of README and pages lead somewhere, those into the public repository too."""

import re
import subprocess
from pathlib import Path

import pytest
import trainer_table
from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
(REPOSITORY,) = re.findall(r'^Repository = "https://github.com/(.*)"$', (ROOT / "pyproject.toml").read_text(), re.M)
BLOB = f"https://github.com/{REPOSITORY}/blob/main/"
RAW = f"https://raw.githubusercontent.com/{REPOSITORY}/main/"

README = ROOT / "README.md"
COSTS = ROOT / "docs" / "benchmarks.md"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("notebooks/*.md"))]

pytestmark = pytest.mark.skipif(not (ROOT / "notebooks").exists(), reason="the sdist has no notebooks to link to")


def inline(path):
    """Tokens inside the paragraphs, cells and headings of a page."""
    tokens = MarkdownIt().enable("table").parse(path.read_text())
    return [child for token in tokens if token.type == "inline" for child in token.children]


def links(path) -> list[str]:
    return [token.attrs["href"] for token in inline(path) if token.type == "link_open"]


def pictures(path) -> list[str]:
    return [token.attrs["src"] for token in inline(path) if token.type == "image"]


def anchors(path) -> set[str]:
    """Names that GitHub gives to the headings of a page."""
    tokens = MarkdownIt().parse(path.read_text())
    headings = [text.content for token, text in zip(tokens, tokens[1:], strict=False) if token.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def leads_somewhere(target, folder=ROOT) -> bool:
    """Whether file and heading of a relative link exist."""
    name, _, anchor = target.partition("#")
    return (folder / name).is_file() and (not anchor or anchor in anchors(folder / name))


def table(path, heading) -> list[list[str]]:
    """Cells of the first table under a heading, without its two first lines."""
    lines = path.read_text().partition(f"# {heading}\n")[2].partition("\n#")[0].splitlines()
    return [line.strip("| ").split(" | ") for line in lines if line.startswith("|")][2:]


def test_links_of_the_readme_work_anywhere():
    for link in links(README):
        assert link.startswith("https://")
        assert REPOSITORY not in link or (link.startswith(BLOB) and leads_somewhere(link.removeprefix(BLOB))), link
    for picture in pictures(README):
        assert picture.startswith(RAW) and leads_somewhere(picture.removeprefix(RAW)), picture
    assert len(links(README)) > 15 and len(pictures(README)) == 2


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_of_the_pages_lead_somewhere(path):
    for target in [*links(path), *pictures(path)]:
        assert re.match("https?://", target) or leads_somewhere(target, path.parent), target


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_link_is_left_undefined(path):
    assert [
        token.content for token in inline(path) if token.type == "text" and re.search(r"\.md[\]#]|\]\[", token.content)
    ] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_files_that_a_page_names_exist(path):
    named = re.findall(
        r"(?<![\w/.-])(?:benchmarks|docs|hf_curriculum|notebooks|tests)/[\w/.-]+\.[a-z]+\b", path.read_text()
    )
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_check_of_a_link_finds_what_is_gone():
    assert leads_somewhere("docs/scorer.md#labels-that-may-be-wrong") and leads_somewhere("docs/demo.png")
    for gone in ("docs/scores.md", "docs/scorer.md#labels", "docs"):
        assert not leads_somewhere(gone)


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout")
def test_the_repository_has_the_pictures_that_it_shows_and_no_other():
    tracked = subprocess.run(["git", "ls-files", "*.png"], cwd=ROOT, check=True, capture_output=True, text=True)
    shown = {picture.removeprefix(RAW) for picture in pictures(README)}
    shown |= {f"docs/{picture}" for path in ROOT.glob("docs/*.md") for picture in pictures(path)}
    assert set(tracked.stdout.split()) == shown
    drawn = "benchmarks/evidence/results/why/curves-loss.png"
    assert subprocess.run(["git", "check-ignore", "-q", drawn], cwd=ROOT).returncode == 0


def test_the_readme_is_short():
    assert README.read_text().partition("\n## How it works\n")[0].count("\n") < 150


def test_every_cost_has_a_script_and_every_script_a_cost():
    scripts = [row[-1].strip("`") for row in table(COSTS, "What it costs")]
    there = {f"benchmarks/{path.name}" for path in (ROOT / "benchmarks").glob("*.py")}
    assert set(scripts) == there - {"benchmarks/__init__.py", "benchmarks/report.py"}  # what the scripts share


def test_the_readme_has_five_of_the_costs():
    few = table(README, "What it costs")
    assert len(few) == 5 and all(row in table(COSTS, "What it costs") for row in few)


def test_the_table_of_trainers_is_that_of_the_list_and_its_tests_are_there():
    assert trainer_table.TABLE.search(trainer_table.PAGE.read_text()).group() == trainer_table.table()
    for row in trainer_table.ROWS:
        for file, name in (test.split(".") for test in row.tests):
            assert f"\ndef {name}(" in (trainer_table.TESTS / f"{file}.py").read_text()
