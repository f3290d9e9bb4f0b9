"""The report of a dataset that was scored, or of the first rows of any dataset, which are scored here."""

import html
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory

os.environ["HF_HUB_DISABLE_IMPLICIT_TOKEN"] = "1"  # what the owner of the Space may read is not for its visitors

import gradio as gr
import pyarrow.compute as pc
from datasets import Audio, Dataset, DatasetInfo, Image, LargeList, List, Video, load_dataset
from huggingface_hub import get_safetensors_metadata
from huggingface_hub.errors import NotASafetensorsRepoError, RepositoryNotFoundError

from hf_curriculum import add_difficulty, report

ROWS = 1_000
PARAMETERS = 250_000_000
ENCODERS = {Image: "facebook/dinov2-small", Audio: "builtin/logmel"}
TEXT_ENCODER = "sentence-transformers/all-MiniLM-L6-v2"

ABOUT = f"""
# How hard is each row?

[hf_curriculum](https://github.com/hf-curriculum/hf-curriculum) scores each row of a dataset by its distance to the
prototype of its cluster, to train on easy rows first. See the report of a dataset that was scored, or let the first
rows of any other one be scored here.

Public datasets and models only. The first {ROWS:,} rows of a split are read, no more: of files that are sorted by
difficulty these are the easiest. What you make is yours alone, and is deleted within two hours.
"""
COLUMN = "What is embedded (input_column). Empty: the only one that can be."
MODEL = (
    f"A model of the Hub with safetensors weights and at most {PARAMETERS // 10**6} million parameters, or builtin/hog"
    " (images), builtin/logmel (sounds), builtin/tfidf (texts). Empty: what suits the rows."
)
# The report runs its scripts, as a page of another origin; without the base its links would lead out of the frame.
FRAME = """<iframe title="{}" srcdoc="{}" sandbox="allow-scripts allow-downloads" style="width:100%; height:90vh">
</iframe>"""
BASE = '<head><base href="about:srcdoc">'


@contextmanager
def in_words() -> Iterator[None]:
    """Show what goes wrong in the block as the sentence that its error has."""
    try:
        yield
    except Exception as error:
        raise gr.Error(html.escape(str(error), quote=False), duration=None) from error


def look(name: str, config: str, split: str) -> Iterator[tuple[str, gr.Files]]:
    """The report of a scored dataset: the page, and the file."""
    with in_words(), TemporaryDirectory() as folder:
        rows = read(name, config, split)
        page, file = shown(rows, folder, name)
        yield page, gr.Files([file], visible=True)


def score(name: str, config: str, split: str, column: str, model: str) -> Iterator[tuple[str, gr.Files]]:
    """Scores rows: the page of their report, and the files of report and rows."""
    with in_words(), TemporaryDirectory() as folder:
        rows = read(name, config, split)
        model = model or usual_encoder(rows, column)
        require_small(model)
        scored = add_difficulty(rows, model, input_column=column or None, on_error="null", cache_dir=folder)
        page, file = shown(scored, folder, name)
        scored.to_parquet(table := f"{folder}/scored.parquet")
        yield page, gr.Files([file, table], visible=True)


def read(name: str, config: str, split: str) -> Dataset:
    """The first rows of a public dataset."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):  # load_dataset takes folders of this machine, too
        raise ValueError(f"{name!r} is no id of a dataset: type owner/name, as in the dataset's address on the Hub.")
    stream = load_dataset(f"hf://datasets/{name}", config or None, split=split or "train", streaming=True)
    features = stream.features
    stream = stream.decode(False) if features else stream  # media would be read, and written anew
    table = next(stream.with_format("arrow").iter(ROWS), None)
    if table is None:
        raise ValueError(f"The split {stream.split} of {name!r} has no rows.")
    rows = Dataset(table, DatasetInfo(features=features), stream.split)
    require_own_files(rows)
    return rows


def require_own_files(rows: Dataset) -> None:
    """Raise if a row names a file that is not of the Hub: it would be one of this machine."""
    for name, kind in rows.features.items():
        column = rows.data[name]
        if isinstance(kind, List | LargeList):
            kind, column = kind.feature, pc.list_flatten(column)
        if isinstance(kind, Audio | Image | Video):
            paths = pc.struct_field(column, "path").filter(pc.struct_field(column, "bytes").is_null()).drop_null()
            if strange := [path for path in paths.to_pylist() if not path.startswith("hf://")]:
                raise ValueError(f"Column {name!r} names the file {strange[0]!r}, which is not in the dataset.")


def usual_encoder(rows: Dataset, column: str) -> str:
    """An encoder for what the rows hold."""
    kinds = {type(kind) for name, kind in rows.features.items() if column in ("", name)}
    return next((model for kind, model in ENCODERS.items() if kind in kinds), TEXT_ENCODER)


def require_small(model: str) -> None:
    """Raise unless an encoder is there for all and fits this machine."""
    if model.startswith("builtin/"):
        return
    try:
        parameters = sum(get_safetensors_metadata(model).parameter_count.values())
    except (NotASafetensorsRepoError, RepositoryNotFoundError) as error:
        raise ValueError(f"{model!r} is no public model of the Hub that has safetensors weights.") from error
    if parameters > PARAMETERS:
        raise ValueError(f"{model!r} has {parameters:,} parameters; here an encoder has at most {PARAMETERS:,}.")


def shown(rows: Dataset, folder: str, name: str) -> tuple[str, str]:
    """The report of rows, in a frame and as a file."""
    which = f"the first {ROWS:,} rows" if len(rows) == ROWS else f"all {len(rows):,} rows"
    title = f"{name}, {rows.split}: {which}"
    page = report(rows, f"{folder}/report.html", title=title)
    framed = page.read_text("utf-8").replace("<head>", BASE, 1)
    return FRAME.format(html.escape(title), html.escape(framed)), str(page)


with gr.Blocks(title="How hard is each row?", delete_cache=(3_600, 3_600)) as demo:
    gr.Markdown(ABOUT)
    with gr.Row():
        name = gr.Textbox(label="Dataset", placeholder="owner/name", scale=3, min_width=320)
        config = gr.Textbox(label="Configuration", placeholder="the only one")
        split = gr.Textbox(label="Split", placeholder="train")
    look_button = gr.Button("Show the report of its scores", variant="primary")
    gr.Markdown("### If it has no scores")
    with gr.Row():
        column = gr.Textbox(label="Column", info=COLUMN, min_width=320)
        model = gr.Textbox(label="Encoder", info=MODEL, min_width=320)
    score_button = gr.Button(f"Score its first {ROWS:,} rows, and show their report")
    page = gr.HTML()
    files = gr.Files(label="To keep", interactive=False, visible=False)
    for button in (look_button, score_button):  # what is shown is never that of the dataset before
        button.click(None, js="() => ['', null]", outputs=[page, files])
    look_button.click(look, [name, config, split], [page, files])
    score_button.click(score, [name, config, split, column, model], [page, files])
    page.change(None, js="() => document.querySelector('iframe[srcdoc]')?.scrollIntoView({behavior: 'smooth'})")

if __name__ == "__main__":
    demo.launch(run_history=False)
