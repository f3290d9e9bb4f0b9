"""``hf-curriculum score``: difficulty columns for a dataset, on this machine or on those of a Ray cluster."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hf_curriculum.cli.console import answer, answering, option
from hf_curriculum.cli.options import Column, Config, Json

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

_LOCAL = ("num_workers", "cache_dir")  # of one machine
_BUILTINS = ["builtin/hog", "builtin/logmel", "builtin/tfidf"]
_SOURCES = (
    "Parquet, JSON lines, CSV, TSV, text or Arrow file, several of them or a quoted pattern, a directory of these, of "
    "images or of audio, or a Hub id."
)


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
            help="Number of clusters. [default: one a class by margin; else where the Davies-Bouldin index has a "
            "minimum, or sqrt(N)]",
            show_default=False,
        ),
    ] = None,
    label_column: Annotated[
        str | None, typer.Option(help="Column of classes, inside which rows are clustered.", show_default=False)
    ] = None,
    normalize: Annotated[
        Literal["minmax", "rank", "none"], typer.Option(help="Of distances to difficulties.")
    ] = "minmax",
    measure: Annotated[
        Literal["distance", "margin"] | None,
        typer.Option(
            help="What is hard: far from the prototype, or near to another class. [default: margin with "
            "--label-column, else distance]",
            show_default=False,
        ),
    ] = None,
    duplicates: Annotated[
        Literal["keep", "first"],
        typer.Option(help="Rows that are there again: score each, or let the first stand for them."),
    ] = "keep",
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
        Literal["truncate", "mean"],
        typer.Option(help="Texts and sounds too long for the model: cut, or averaged over their parts."),
    ] = "truncate",
    on_error: Annotated[
        Literal["raise", "null"],
        typer.Option(help="A row that cannot be embedded: stop, or leave it without difficulty."),
    ] = "raise",
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
        Literal["local", "ray"],
        typer.Option(
            help="ray: Parquet of any size (file, folder, glob, URL) to Parquet, on all machines of a cluster."
        ),
    ] = "local",
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
            options |= {"batch_size": batch_size, "on_error": on_error, "long_inputs": long_inputs}
        elif engine == "ray":
            raise ValueError("--engine ray embeds the rows: pass --model.")
        elif options:
            raise ValueError(f"Without --model nothing is embedded: drop {', '.join(map(option, options))}.")
        fit: dict[str, Any] = {
            "n_clusters": clusters,
            "normalize": None if normalize == "none" else normalize,
            "seed": seed,
            "measure": measure,
        }
        _check_scorer(scorer, fit, repeats)
        if engine == "ray":
            if duplicates != "keep":
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

        options |= _scorer(scorer, fit, repeats) | {"label_column": label_column, "duplicates": duplicates}
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
