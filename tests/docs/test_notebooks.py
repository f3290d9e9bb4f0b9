"""The notebooks run from top to bottom, and the files show what comes out."""

import re

import pytest
from executing import NOTEBOOKS, ROOT, code_cells, data_folder, execute, read

from hf_curriculum._optional import HOME, install_line

BYTES = 1_000_000
ABSOLUTE_PATH = re.compile(r"(?<![\w.:/<~-])/\w[\w.-]*/\w")
BAR = re.compile(r"\d+%\||<progress")

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def outputs_of(path):
    return [output for cell in code_cells(read(path)) for output in cell.outputs]


def texts_of(output):
    data = output.get("data", {})
    return [output.get("text", ""), *(text for kind, text in data.items() if kind.startswith("text/"))]


def test_there_are_five():
    assert [path.stem for path in NOTEBOOKS] == [
        "1_images_mae",
        "2_audio_spoken_digits",
        "3_text_news",
        "4_your_own_loop_and_difficulty",
        "5_processes_and_hub",
    ]


@pytest.mark.slow
@each_notebook
def test_it_runs_from_top_to_bottom(path, tmp_path):
    data_folder()  # raises without NOTEBOOK_DATA
    execute(path, tmp_path)


@each_notebook
def test_the_file_is_that_of_one_execution(path):
    cells = code_cells(read(path))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1)), "run tests/helpers/executing.py"


@each_notebook
def test_it_starts_from_an_empty_environment(path):
    first = code_cells(read(path))[0]
    assert first.source == install_line("all").replace("pip install", "%pip install -q").replace("'", '"')


@each_notebook
def test_its_links_lead_somewhere_from_colab_too(path):
    text = "".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    links = re.findall(r"\]\((.+?)\)", text)
    here = HOME.removeprefix("https://github.com")
    assert links[:2] == [
        "https://colab.research.google.com/assets/colab-badge.svg",
        f"https://colab.research.google.com/github{here}/blob/main/notebooks/{path.name}",
    ]
    for link in links:
        assert link.startswith("https://"), link
        if link.startswith(HOME):
            page, _, heading = link.removeprefix(f"{HOME}/blob/main/").partition("#")
            assert heading.replace("-", " ") in (ROOT / page).read_text().lower(), link


@each_notebook
def test_no_code_is_there_for_tests(path):
    assert not any("environ" in cell.source for cell in code_cells(read(path)))


@each_notebook
def test_it_ends_with_a_picture_and_a_number(path):
    last = code_cells(read(path))[-1].outputs
    assert any("image/png" in output.get("data", {}) for output in last)
    assert re.search(r"\d", last[-1].text)


@each_notebook
def test_nothing_is_shown_that_a_reader_does_not_need(path):
    outputs = outputs_of(path)
    assert {output.output_type for output in outputs} <= {"stream", "display_data", "execute_result"}  # no error
    assert {output.name for output in outputs if output.output_type == "stream"} == {"stdout"}  # no warning
    for text in (text for output in outputs for text in texts_of(output)):
        assert not ABSOLUTE_PATH.search(text), ABSOLUTE_PATH.search(text)
        assert not BAR.search(text)
        assert " at 0x" not in text
    assert path.stat().st_size < BYTES


@pytest.mark.parametrize(
    ("text", "is_path"),
    [
        ("saved in /home/someone/.cache", True),
        ("'/tmp/scorer'", True),
        ("</td></tr>", False),
        ("https://example.org/a/b", False),
        ("me/cifar10-scored/data", False),
        ("3 / 4 and 1/2", False),
    ],
)
def test_what_counts_as_an_absolute_path(text, is_path):
    assert bool(ABSOLUTE_PATH.search(text)) == is_path
