"""The command line: ``hf-curriculum score``, ``report``, ``push`` and ``demo``."""

import shlex
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hf_curriculum.cli.console import Application, answer, answering, listen, option

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

    from hf_curriculum.training import CurriculumConfig

app = Application(
    name="hf-curriculum",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_LOCAL = ("num_workers", "cache_dir")  # of one machine
_BUILTINS = ["builtin/hog", "builtin/logmel", "builtin/tfidf"]
_SOURCES = (
    "Parquet, JSON lines, CSV, TSV, text or Arrow file, several of them or a quoted pattern, a directory of these, of "
    "images or of audio, or a Hub id."
)


class Normalize(str, Enum):
    """Choices of ``--normalize``."""

    minmax = "minmax"
    rank = "rank"
    none = "none"


class LongInputs(str, Enum):
    """Choices of ``--long-inputs``."""

    truncate = "truncate"
    mean = "mean"


class Measure(str, Enum):
    """Choices of ``--measure``."""

    distance = "distance"
    margin = "margin"


class Duplicates(str, Enum):
    """Choices of ``--duplicates``."""

    keep = "keep"
    first = "first"


class OnError(str, Enum):
    """Choices of ``--on-error``."""

    fail = "raise"
    null = "null"


class Engine(str, Enum):
    """Choices of ``--engine``."""

    local = "local"
    ray = "ray"


Json = Annotated[bool, typer.Option("--json", help="Print one JSON object, for scripts.")]
Scored = Annotated[str, typer.Argument(help="Scored dataset: directory or file, or Hub id.", show_default=False)]
Split = Annotated[str | None, typer.Option(help="Split to take. [default: train, or the first]", show_default=False)]
Config = Annotated[str | None, typer.Option(help="Configuration (subset) of a Hub dataset.", show_default=False)]
Column = Annotated[
    str | None, typer.Option(help="Column of images, audio, video or text, if several could be.", show_default=False)
]


def _show_version(wanted: bool) -> None:
    if wanted:
        from hf_curriculum._version import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def main(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Score a dataset by difficulty, then train on it from prototypes to the whole.

    \b
    hf-curriculum demo                                                 see it run, without any download
    hf-curriculum score DATA --model MODEL --output scored             add the difficulty columns
    hf-curriculum report scored                                        look at them
    hf-curriculum push scored ME/NAME                                  share them
    """  # noqa: D301 - click looks for the character
    context.call_on_close(listen())


@app.command(short_help="Add difficulty columns to a dataset.")
def score(
    dataset: Annotated[list[str], typer.Argument(help=_SOURCES, show_default=False)],
    output: Annotated[
        str, typer.Option("--output", "-o", help="Directory for the scored dataset.", show_default=False)
    ],
    model: Annotated[
        str | None,
        typer.Option(
            help=f"Hub id or directory of an encoder, or {', '.join(_BUILTINS)}. Without it the dataset must have an "
            "embedding column.",
            autocompletion=lambda: _BUILTINS,
            show_default=False,
        ),
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Revision of a Hub model.", show_default=False)] = None,
    split: Annotated[str | None, typer.Option(help="Split to take. [default: all]", show_default=False)] = None,
    config: Config = None,
    column: Column = None,
    clusters: Annotated[
        int | None,
        typer.Option(
            help="Number of clusters. [default: where the Davies-Bouldin index has a minimum, else sqrt(N)]",
            show_default=False,
        ),
    ] = None,
    label_column: Annotated[
        str | None, typer.Option(help="Cluster inside each class of this column.", show_default=False)
    ] = None,
    normalize: Annotated[Normalize, typer.Option(help="Of distances to difficulties.")] = Normalize.minmax,
    measure: Annotated[
        Measure | None,
        typer.Option(
            help="What is hard: far from the prototype, or near to another class. [default: margin with "
            "--label-column, else distance]",
            show_default=False,
        ),
    ] = None,
    duplicates: Annotated[
        Duplicates, typer.Option(help="Rows that are there again: score each, or let the first stand for them.")
    ] = Duplicates.keep,
    repeats: Annotated[int, typer.Option(help="Clusterings whose mean is the difficulty: steadier.", min=1)] = 1,
    scorer: Annotated[
        str | None,
        typer.Option(
            help="Directory or Hub id of a DifficultyScorer that was saved: its prototypes score the rows.",
            show_default=False,
        ),
    ] = None,
    pooling: Annotated[
        str | None,
        typer.Option(help="cls, mean, max or last. [default: what the model's authors use]", show_default=False),
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(help="Number or name of a layer of the model. [default: the last]", show_default=False),
    ] = None,
    long_inputs: Annotated[
        LongInputs, typer.Option(help="Texts and sounds too long for the model: cut, or averaged over their parts.")
    ] = LongInputs.truncate,
    on_error: Annotated[
        OnError, typer.Option(help="A row that cannot be embedded: stop, or leave it without difficulty.")
    ] = OnError.fail,
    batch_size: Annotated[int, typer.Option(help="Rows in a forward pass.", min=1)] = 64,
    num_workers: Annotated[
        int | None,
        typer.Option(help="Processes that decode rows. [default: as the machine has it]", show_default=False, min=0),
    ] = None,
    cache_dir: Annotated[
        Path | None,
        typer.Option(help="Where finished work is kept. [default: the cache of datasets]", show_default=False),
    ] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run the code that a Hub model brings.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of k-means.")] = 42,
    engine: Annotated[
        Engine,
        typer.Option(
            help="ray: Parquet of any size (file, folder, glob, URL) to Parquet, on all machines of a cluster."
        ),
    ] = Engine.local,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a scored dataset at --output; never anything else.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Add embedding, cluster, distance and difficulty columns, and save the dataset.

    Work that is done is kept: a command that was killed goes on after its last finished rows when it is run again.
    Several GPUs: accelerate launch -m hf_curriculum.cli score ...

    \b
    hf-curriculum score news.parquet --model sentence-transformers/all-MiniLM-L6-v2 --output scored
    hf-curriculum score photos/ --model facebook/dinov2-small --output scored
    hf-curriculum score speech/ --model facebook/hubert-base-ls960 --output scored
    hf-curriculum score s3://me/photos --model facebook/dinov2-small --output s3://me/scored --engine ray
    """  # noqa: D301 - click looks for the character
    with answering(as_json):
        embedding = {
            "input_column": column,
            "revision": revision,
            "pooling": pooling,
            "layer": int(layer) if layer and layer.lstrip("-").isdecimal() else layer,
            "num_workers": num_workers,
            "cache_dir": cache_dir and str(cache_dir),
            "trust_remote_code": trust_remote_code or None,
        }
        options: dict[str, Any] = {name: value for name, value in embedding.items() if value is not None}
        if model:
            options |= {"batch_size": batch_size, "on_error": on_error.value, "long_inputs": long_inputs.value}
        elif engine is Engine.ray:
            raise ValueError("--engine ray embeds the rows: pass --model.")
        elif options:
            raise ValueError(f"Without --model nothing is embedded: drop {', '.join(map(option, options))}.")
        fit: dict[str, Any] = {
            "n_clusters": clusters,
            "normalize": None if normalize is Normalize.none else normalize.value,
            "seed": seed,
            "measure": measure and measure.value,
        }
        _check_scorer(scorer, fit, repeats)
        if engine is Engine.ray:
            if duplicates is not Duplicates.keep:
                raise ValueError("--engine ray does not compare rows of all files: leave --duplicates out.")
            if split or config or overwrite:
                raise ValueError(
                    "--engine ray reads files, which have no splits, and goes on with what is at --output: leave "
                    "--split, --config and --overwrite out."
                )
            if not options.keys().isdisjoint(_LOCAL):
                raise ValueError(f"--engine ray has its own: leave {' and '.join(map(option, _LOCAL))} out.")
            options |= _scorer(scorer, fit, repeats) | {"label_column": label_column}
            return _score_by_ray(dataset, output, model, options, as_json)

        from hf_curriculum.cli.sources import load, require_embeddings, require_output, save
        from hf_curriculum.data import require_name

        require_name(output, "--output")
        folder = Path(output)
        require_output(folder, dataset, overwrite)
        rows = load(dataset, split, config)
        if not model:
            require_embeddings(rows)

        from hf_curriculum.processes import this_process  # a wrong path is told without waiting for this
        from hf_curriculum.scoring import add_difficulty

        options |= _scorer(scorer, fit, repeats) | {"label_column": label_column, "duplicates": duplicates.value}
        scored = add_difficulty(rows, model, **options)
        if this_process().is_main_process:  # accelerate launch: each process has the whole dataset
            save(scored, folder)
            _tell_of_scores(scored, folder, as_json)


def _check_scorer(scorer: str | None, fit: dict[str, Any], repeats: int) -> None:
    """Raise if what a saved scorer brings is asked for beside it."""
    default = {"n_clusters": None, "normalize": "minmax", "seed": 42, "measure": None}
    if scorer and (fit, repeats) != (default, 1):
        raise ValueError(
            "--scorer brings its own --clusters, --normalize, --seed, --measure and --repeats: drop these."
        )


def _scorer(scorer: str | None, fit: dict[str, Any], repeats: int) -> dict[str, Any]:
    """Arguments that say by what the rows are scored."""
    from hf_curriculum.scoring import DifficultyScorer

    if scorer:
        return {"scorer": DifficultyScorer.from_pretrained(scorer)}
    if repeats == 1:
        return fit
    return {"scorer": DifficultyScorer(**fit | {"measure": fit["measure"] or "distance"}, repeats=repeats)}


def _score_by_ray(sources: list[str], output: str, model: str | None, options: dict[str, Any], as_json: bool) -> None:
    assert model is not None

    from hf_curriculum.scoring import score_parquet

    scorer = score_parquet(sources if len(sources) > 1 else sources[0], output, model, **options)
    text = f"""
Scored the rows in {scorer.n_clusters_:,} clusters; Parquet files and the scorer are in {output}.

Train on them easy-first:

    from datasets import load_dataset
    from hf_curriculum import CurriculumTrainer

    rows = load_dataset("parquet", data_files={output + "/*.parquet"!r}, split="train")
    trainer = CurriculumTrainer(model=model, args=args, train_dataset=rows)
"""
    answer({"output": output, "n_clusters": scorer.n_clusters_}, text, as_json)


def _tell_of_scores(scored: "Dataset | DatasetDict", output: Path, as_json: bool) -> None:
    from hf_curriculum.data import fit_split, provenance, splits_of

    splits = splits_of(scored)
    named = isinstance(scored, dict)
    shown = fit_split(splits)
    record = provenance(splits[shown])
    rows = sum(map(len, splits.values()))
    without = sum(split.data.column("difficulty").null_count for split in splits.values())
    result = {
        "output": str(output),
        "rows": rows,
        "rows_without_difficulty": without,
        "columns": splits[shown].column_names,
        "provenance": record,
        **({"splits": {name: len(split) for name, split in splits.items()}} if named else {}),
    }
    missing = f", {without:,} of them without a difficulty" if without else ""
    doubtful = record.get("doubtful_labels")
    told = (
        ""
        if doubtful is None
        else f"\nAbout {doubtful:,} labels look wrong, far fewer where the encoder does not tell classes apart: see "
        "suggested_label, the highest difficulties first."
    )
    copies = f"\n{record['copies']:,} rows have the embedding of an earlier row." if record["copies"] else ""
    parts = f" of {len(splits)} splits ({', '.join(splits)})" if named else ""
    chosen = f"[{shown!r}]" if named else ""
    clusters = "1 cluster" if record["n_clusters"] == 1 else f"{record['n_clusters']:,} clusters"
    text = f"""
Saved {rows:,} rows{parts} in {clusters} to {output}{missing}.{told}{copies}

Look at them:   hf-curriculum report {shlex.quote(str(output))}
Share them:     hf-curriculum push {shlex.quote(str(output))} USER/NAME
Train on them easy-first:

    from datasets import load_from_disk
    from hf_curriculum import CurriculumTrainer

    trainer = CurriculumTrainer(model=model, args=args, train_dataset=load_from_disk({str(output)!r}){chosen})
"""
    answer(result, text, as_json)


def _require_report() -> None:
    """Raise unless what the report needs is installed; before any work."""
    from hf_curriculum._optional import require_extra

    require_extra("plotly.offline", extra="report", purpose="The report")
    require_extra("jinja2", extra="report", purpose="The report")


def _read_curriculum(path: Path) -> "CurriculumConfig":
    from hf_curriculum.training import CurriculumConfig

    try:
        return CurriculumConfig.from_json(path.read_text())
    except (ValueError, TypeError) as error:
        raise ValueError(f"--curriculum {path} holds no curriculum: {error}") from error


@app.command(short_help="Write an HTML page that shows a scored dataset.")
def report(
    scored: Scored,
    output: Annotated[Path, typer.Option("--output", "-o", help="HTML file to write.")] = Path("report.html"),
    split: Split = None,
    config: Config = None,
    column: Column = None,
    curriculum: Annotated[
        Path | None,
        typer.Option(
            help="JSON file of CurriculumConfig.to_json(). [default: the paper's]",
            show_default=False,
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Optimiser steps of the training. [default: 1000]", show_default=False, min=1)
    ] = None,
    title: Annotated[str, typer.Option(help="Heading of the page.")] = "Difficulty report",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file at --output that is no report.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write one HTML file: difficulties, clusters, a map, prototypes and hardest rows, what the schedule draws.

    \b
    hf-curriculum report scored
    hf-curriculum report me/tiny-imagenet-scored --output tiny-imagenet.html
    """  # noqa: D301 - click looks for the character
    with answering(as_json):
        from hf_curriculum.cli.sources import load, require_page

        _require_report()
        require_page(output, overwrite)
        rows = load(scored, split, config)

        from hf_curriculum.data import fit_split
        from hf_curriculum.viewing import report as write

        write(
            rows[fit_split(rows)] if isinstance(rows, dict) else rows,
            output,
            curriculum=None if curriculum is None else _read_curriculum(curriculum),
            total_steps=steps,
            input_column=column,
            title=title,
        )
        answer({"output": str(output)}, f"Wrote {output}. Open it in a browser; it needs no network.", as_json)


@app.command(short_help="Upload a scored dataset with a card that says how it was scored.")
def push(
    scored: Scored,
    repo_id: Annotated[str, typer.Argument(help="Dataset repository on the Hub: USER/NAME.", show_default=False)],
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    revision: Annotated[
        str | None, typer.Option(help="Branch to push to. [default: main]", show_default=False)
    ] = None,
    create_pr: Annotated[bool, typer.Option("--create-pr", help="Open a pull request.")] = False,
    source: Annotated[
        str | None, typer.Option(help="Hub id of the dataset that was scored, for a link.", show_default=False)
    ] = None,
    sort: Annotated[
        bool, typer.Option("--sort", help="Sort the rows of each file by difficulty: streams read less then.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Upload a scored dataset to the Hub, with a dataset card and its pictures.

    The token is that of `hf auth login`. Pushing again replaces our part of the card; what you wrote stays.

    \b
    hf-curriculum push scored me/tiny-imagenet-scored
    """  # noqa: D301 - click looks for the character
    with answering(as_json):
        from hf_curriculum.cli.sources import load

        rows = load(scored, None)

        from hf_curriculum.data import fit_split
        from hf_curriculum.sharing import push_scored

        split = fit_split(rows) if isinstance(rows, dict) else str(rows.split or "train")
        url = push_scored(
            rows,
            repo_id,
            private=private or None,
            revision=revision,
            create_pr=create_pr,
            source=source,
            sort=sort,
        )
        text = f"""
Pushed to {url}

Anyone can train on it now:

    from datasets import load_dataset
    from hf_curriculum import CurriculumTrainer

    trainer = CurriculumTrainer(model=model, args=args, train_dataset=load_dataset({repo_id!r}, split={split!r}))
"""
        answer({"url": url, "repo_id": repo_id}, text, as_json)


@app.command(short_help="See it run on scikit-learn's digits.")
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory for the results.")] = Path("demo"),
    steps: Annotated[int, typer.Option(help="Optimiser steps of the training.", min=1)] = 600,
    as_json: Json = False,
) -> None:
    """Score scikit-learn's digits, train a tiny MAE on them easy-first, draw a picture and a report.

    Needs no download.

    \b
    hf-curriculum demo
    """  # noqa: D301 - click looks for the character
    with answering(as_json):
        from hf_curriculum._optional import require_extra

        require_extra("matplotlib.pyplot", extra="plot", purpose="The demo's picture")
        _require_report()

        from hf_curriculum.cli.sources import require_demo_folder

        require_demo_folder(output)

        import torch

        from hf_curriculum.cli.demo import run_demo

        torch.set_num_threads(1)  # a model this small loses more by waiting for a second thread than it does for it
        result = run_demo(output, steps)
        header = "  ".join(f"{name:>18}" for name in result.rows[0])
        lines = [
            "  ".join(f"{'uniform' if value is None else f'{value:.4g}':>18}" for value in row.values())
            for row in result.rows
        ]
        paths = {"dataset": result.dataset_dir, "picture": result.picture, "report": result.report}
        text = "\n".join(["", header, *lines, "", *(f"{name.capitalize():<8} {path}" for name, path in paths.items())])
        answer({"log": result.rows, **{name: str(path) for name, path in paths.items()}}, text, as_json)
