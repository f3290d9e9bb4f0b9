"""The app of ``space/`` as it runs on the Hub, with the small Hub for its own: ``make test-space`` (Gradio)."""

import html
import io
import json
import shutil
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.request import urlopen

import pyarrow.parquet as pq
import pytest
from browsing import browser
from datasets import Dataset, Features, Image, Value
from hub_client import environment
from hub_server import Repo, hub
from needs import needs

from hf_curriculum import add_difficulty, provenance, report

gradio_client = needs("gradio_client")  # comes with gradio

SPACE = Path(__file__).parents[2] / "space"
MARKUP = "<img src=x onerror='document.title = 1'>"
ROWS = 1_000


def parquet(dataset):
    file = io.BytesIO()
    dataset.to_parquet(file)
    return file.getvalue()


def huge():
    """Weights of 300 million parameters, as far as their head tells."""
    head = json.dumps(
        {"weight": {"dtype": "F32", "shape": [300, 1_000_000], "data_offsets": [0, 1_200_000_000]}}
    ).encode()
    return len(head).to_bytes(8, "little") + head


@pytest.fixture(scope="module")
def secret(tmp_path_factory):
    """A picture on the machine of the Space."""
    path = tmp_path_factory.mktemp("machine") / "secret.png"
    path.write_bytes(b"of the owner")
    return str(path)


@pytest.fixture(scope="module")
def many(sentences):
    """2,100 texts."""
    return Dataset.from_dict({"text": [f"{sentences[i % 60]['text']} {i % 7} {i % 11}" for i in range(2_100)]})


@pytest.fixture(scope="module")
def scored(digits):
    return add_difficulty(digits, "builtin/hog", n_clusters=5)


@pytest.fixture(scope="module")
def server(digits, sentences, clips, many, scored, secret, tiny_bert, tiny_dinov2):
    path = Features({"text": Value("string"), "picture": {"bytes": Value("binary"), "path": Value("string")}})
    strange = [{"text": text, "picture": {"bytes": None, "path": secret}} for text in sentences["text"]]
    datasets = {
        **{"scored": scored, "digits": digits, "texts": sentences, "clips": clips, "private": sentences},
        "gated": sentences,
        "numbers": Dataset.from_dict({"n": [1, 2, 3]}),
        "two": sentences.add_column("title", sentences["text"]),
        "strange": Dataset.from_list(strange, features=path).cast_column("picture", Image()),
        "markup": Dataset.from_dict({MARKUP: [1, 2, 3]}),
    }
    models = {"sentence-transformers/all-MiniLM-L6-v2": tiny_bert, "facebook/dinov2-small": tiny_dinov2}
    with hub() as running:
        for name, dataset in datasets.items():
            repo = running.repos[f"datasets/me/{name}"] = Repo(private=name == "private", gated=name == "gated")
            repo.write("data/train-00000-of-00001.parquet", parquet(dataset))
        running.repos["datasets/me/empty"] = Repo()
        running.repos["datasets/me/many"] = Repo()
        for part in range(3):
            rows = many.select(range(700 * part, 700 * (part + 1)))
            running.repos["datasets/me/many"].write(f"data/train-0000{part}-of-00003.parquet", parquet(rows))
        for name, folder in models.items():
            running.repos[f"models/{name}"] = Repo()
            for file in Path(folder).iterdir():
                running.repos[f"models/{name}"].write(file.name, file.read_bytes())
        running.repos["models/me/huge"] = Repo()
        running.repos["models/me/huge"].write("model.safetensors", huge())
        running.repos["models/me/bare"] = Repo()
        running.repos["models/me/private"] = Repo(private=True)
        running.repos["models/me/gated"] = Repo(gated=True)
        yield running


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """What the Space has of the disk: a folder for temporary files, one for what visitors download, its caches."""
    folder = tmp_path_factory.mktemp("space")
    for name in ("temporary", "downloads"):
        (folder / name).mkdir()
    return folder


@pytest.fixture(scope="module")
def url(server, machine):
    """The app as a process of its own, in a folder with the files of the Space; its owner is logged in."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    app = shutil.copytree(SPACE, machine / "app")
    variables = environment(server, machine) | {
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_TEMP_DIR": str(machine / "downloads"),
        "TMPDIR": str(machine / "temporary"),
    }
    with (machine / "log.txt").open("w") as log:
        process = subprocess.Popen([sys.executable, "app.py"], cwd=app, env=variables, stdout=log, stderr=log)
    try:
        until(lambda: process.poll() is not None or answers(f"http://127.0.0.1:{port}/"), seconds=120)
        assert process.poll() is None, (machine / "log.txt").read_text()
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.kill()
        process.wait()


def answers(url):
    try:
        return urlopen(url, timeout=5).status == 200
    except OSError:
        return False


def until(so, seconds=10):
    end = time.monotonic() + seconds
    while not so():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.2)


@pytest.fixture
def visit(url, tmp_path):
    """A call of a visitor: what is shown as a page, and the files by name."""

    def visited(button, *fields):
        client = gradio_client.Client(url, verbose=False, download_files=tmp_path / "visitor")
        page, files = client.predict(*fields, api_name=f"/{button}")
        files = [Path(file) for file in files["value"]]
        return html.unescape(page.partition('srcdoc="')[2].partition('"')[0]), {file.name: file for file in files}

    return visited


def unframed(page):
    return page.replace('<base href="about:srcdoc">', "")


# --- what it does -------------------------------------------------------------------------------------------------


def test_the_report_of_a_scored_dataset_is_that_of_the_library(visit, scored, tmp_path):
    page, files = visit("look", "me/scored", "", "")
    expected = report(scored, tmp_path / "report.html", title="me/scored, train: all 200 rows").read_text("utf-8")
    assert unframed(page) == files["report.html"].read_text("utf-8") == expected
    assert files.keys() == {"report.html"}


def test_the_first_rows_are_read_and_scored_as_the_library_scores_them(visit, server, many):
    page, files = visit("score", "me/many", "", "train", "text", "builtin/tfidf")
    got, expected = (
        Dataset.from_parquet(str(files["scored.parquet"])),
        add_difficulty(many.select(range(ROWS)), "builtin/tfidf"),
    )
    assert got.column_names == expected.column_names and got["text"][:] == expected["text"][:]
    assert got["difficulty"][:] == expected["difficulty"][:]
    assert provenance(got)["embedding"]["model_id"] == "builtin/tfidf"
    assert "me/many, train: the first 1,000 rows" in page and unframed(page) == files["report.html"].read_text("utf-8")
    read = {part for part in range(3) if any(f"/train-0000{part}-of" in line for line in server.log if "GET" in line)}
    assert read == {0, 1}


@pytest.mark.parametrize(
    "name, encoder",
    [
        ("digits", "facebook/dinov2-small"),
        ("clips", "builtin/logmel"),
        ("texts", "sentence-transformers/all-MiniLM-L6-v2"),
    ],
)
def test_the_encoder_suits_the_rows(visit, request, name, encoder):
    _, files = visit("score", f"me/{name}", "", "", "", "")
    got, given = (
        Dataset.from_parquet(str(files["scored.parquet"])),
        request.getfixturevalue({"texts": "sentences"}.get(name, name)),
    )
    assert provenance(got)["embedding"]["model_id"] == encoder
    (media,) = (column for column in given.column_names if column != "label")
    assert got.features[media] == given.features[media]
    assert got.data[media].to_pylist() == given.data[media].to_pylist()  # their bytes are those of the dataset
    assert pq.read_metadata(files["scored.parquet"]).num_rows == len(given)


# --- what it says where it cannot ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, config, split, said",
    [
        ("me/nothing", "", "", "Dataset 'me/nothing' doesn't exist on the Hub or cannot be accessed."),
        ("me/private", "", "", "Dataset 'me/private' doesn't exist on the Hub or cannot be accessed."),
        (
            "me/gated",
            "",
            "",
            "Dataset 'me/gated' is a gated dataset on the Hub. You must be authenticated to access it.",
        ),
        ("me/empty", "", "", "me/empty@\\S+ doesn't contain any data files"),
        ("me/texts", "", "dev", r"Bad split: dev. Available splits: \['train'\]"),
        ("me/texts", "german", "", r"BuilderConfig 'german' not found. Available: \['default'\]"),
        (
            "me/texts",
            "",
            "",
            r"Column 'difficulty' is not in the dataset \(columns: \['text'\]\). Create it with .add_diff",
        ),
        ("me/markup", "", "", r"Column 'difficulty' is not in the dataset \(columns: \[\"&lt;img src=x"),
        *(
            (name, "", "", "is no id of a dataset: type owner/name")
            for name in ("", "text", ".", "/etc", "../app/x", "a/b/c")
        ),
    ],
)
def test_a_dataset_that_cannot_be_looked_at(visit, name, config, split, said):
    with pytest.raises(gradio_client.exceptions.AppError, match=said):
        visit("look", name, config, split)


@pytest.mark.parametrize(
    "name, column, model, said",
    [
        ("me/numbers", "", "", r"all-MiniLM-L6-v2 embeds text, but the dataset has no such column \(n: Value\)"),
        ("me/texts", "", "builtin/hog", "builtin/hog embeds image, but the dataset has no such column"),
        ("me/texts", "txt", "", "Column 'txt' is not in the dataset .* Did you mean 'text'"),
        ("me/two", "", "", r"Several columns could be embedded: \['text', 'title'\]. Choose one with input_column"),
        ("me/texts", "", "builtin/hug", "builtin/hug"),
        *(
            (
                "me/texts",
                "",
                f"me/{model}",
                f"'me/{model}' is no public model of the Hub that has safetensors weights.",
            )
            for model in ("nothing", "private", "gated", "bare")
        ),
        ("me/texts", "", "me/huge", "'me/huge' has 300,000,000 parameters; here an encoder has at most 250,000,000."),
        ("me/texts", "", "/etc", "Repo id must"),
    ],
)
def test_rows_that_cannot_be_scored(visit, name, column, model, said):
    with pytest.raises(gradio_client.exceptions.AppError, match=said):
        visit("score", name, "", "", column, model)


# --- whose is what ------------------------------------------------------------------------------------------------


def test_no_file_of_the_machine_is_read_for_a_dataset_that_names_it(visit, secret):
    with pytest.raises(gradio_client.exceptions.AppError, match="'picture' names the file .* not in the dataset"):
        visit("score", "me/strange", "", "", "text", "builtin/tfidf")


def test_visitors_at_once_get_what_is_theirs_and_leave_nothing(visit, machine):
    calls = [("look", "me/scored", "", ""), ("score", "me/texts", "", "", "", "builtin/tfidf")] * 2
    with ThreadPoolExecutor() as visitors:
        pages = [page for page, _ in visitors.map(lambda call: visit(*call), calls)]
    assert pages[0] == pages[2] and "<title>me/scored, train" in pages[0] and "me/texts" not in pages[0]
    assert pages[1] == pages[3] and "<title>me/texts, train" in pages[1] and "me/scored" not in pages[1]
    until(lambda: [path for path in (machine / "temporary").rglob("*") if path.is_file()] == [])
    kept = {path.suffix for path in (machine / "home").rglob("*") if path.is_file()}
    assert not kept & {".parquet", ".arrow"}


# --- what a person sees -------------------------------------------------------------------------------------------


def test_a_person_types_an_id_and_moves_in_the_report(url):
    with browser() as chromium:
        tab = chromium.new_page(viewport={"width": 390, "height": 844})
        tab.goto(url)
        tab.set_default_timeout(60_000)
        tab.get_by_label("Dataset", exact=True).fill("me/scored")
        tab.get_by_role("button", name="Show the report").click()
        frame = tab.frame_locator("iframe[srcdoc]")
        frame.locator("html[data-ready]").wait_for(state="attached")  # its scripts have run
        frame.get_by_role("link", name="Map").click()
        frame.locator("#map-plot .main-svg").first.wait_for()
        assert frame.locator("h1").inner_text() == "me/scored, train: all 200 rows"
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390 and tab.url == url
        link = tab.locator("td.download a").get_attribute("href")  # a click is lost where Gradio draws the list anew
        assert b"me/scored" in tab.request.get(link).body()

        tab.get_by_label("Dataset", exact=True).fill("me/markup")
        tab.get_by_role("button", name="Show the report").click()
        tab.get_by_text(MARKUP).wait_for()  # as text
        assert tab.locator("iframe[srcdoc], td.download a").count() == 0  # those of the dataset before
        assert tab.title() == "How hard is each row?"
