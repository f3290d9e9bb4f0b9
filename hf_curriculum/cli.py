"""The command line: ``hf-curriculum score`` and ``hf-curriculum demo``."""

import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="hf-curriculum",
    help="Score a dataset by difficulty, then train on it from prototypes to the whole.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def main() -> None:
    """Score a dataset by difficulty, then train on it from prototypes to the whole."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")


@app.command()
def score(
    dataset: Annotated[
        str,
        typer.Argument(help="Parquet, JSON, CSV or Arrow file or directory, image or audio folder, or Hub id."),
    ],
    output: Annotated[Path, typer.Option(help="Directory for the scored dataset.")],
    model: Annotated[
        str | None,
        typer.Option(
            help="Hub id or directory of an encoder, or builtin/hog, builtin/logmel, builtin/tfidf. "
            "Without it the dataset must have an embedding column."
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="Split to score.")] = "train",
    column: Annotated[str | None, typer.Option(help="Column to embed, if several could be.")] = None,
    clusters: Annotated[
        int | None, typer.Option(help="Number of clusters. [default: by the Davies-Bouldin index]")
    ] = None,
    label_column: Annotated[str | None, typer.Option(help="Cluster inside each class of this column.")] = None,
    normalize: Annotated[str, typer.Option(help="minmax or rank.")] = "minmax",
    batch_size: Annotated[int, typer.Option(help="Rows in a forward pass.")] = 64,
    seed: Annotated[int, typer.Option(help="Seed of k-means.")] = 42,
) -> None:
    """Add embedding, cluster, distance and difficulty columns, and save the dataset.

    Example: hf-curriculum score news.parquet --model sentence-transformers/all-MiniLM-L6-v2 --output scored
    """
    from hf_curriculum.processes import this_process
    from hf_curriculum.scoring import add_difficulty
    from hf_curriculum.sources import load

    try:
        rows = load(dataset, split)
        options: dict[str, Any] = {"batch_size": batch_size, "input_column": column} if model else {}
        scored = add_difficulty(
            rows,
            model,
            n_clusters=clusters,
            label_column=label_column,
            normalize=normalize,
            seed=seed,
            **options,
        )
        if not this_process().is_main_process:  # accelerate launch: each process has the whole dataset
            return
        scored.save_to_disk(output)
    except (ValueError, TypeError, OSError, RuntimeError, ModuleNotFoundError) as error:
        typer.secho(f"Error: {error}", fg="red", err=True)
        sys.exit(2)
    typer.echo(f"""
Saved {len(scored):,} rows with embedding, cluster, distance and difficulty to {output}. Train on them easy-first:

    from datasets import load_from_disk
    from hf_curriculum import CurriculumTrainer
    trainer = CurriculumTrainer(model=model, args=args, train_dataset=load_from_disk({str(output)!r}))
""")


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="Directory for the results.")] = Path("demo"),
    steps: Annotated[int, typer.Option(help="Optimiser steps of the training.")] = 600,
) -> None:
    """Score scikit-learn's digits, train a tiny MAE on them easy-first, draw a picture. Needs no download."""
    import torch

    from hf_curriculum.demo import run_demo

    torch.set_num_threads(1)  # a model this small loses more by waiting for a second thread than it does for it
    result = run_demo(output, steps)
    header = list(result.rows[0])
    typer.echo("\n" + "  ".join(f"{name:>18}" for name in header))
    for row in result.rows:
        cells = ["uniform" if value is None else f"{value:.4g}" for value in row.values()]
        typer.echo("  ".join(f"{cell:>18}" for cell in cells))
    typer.echo(f"""
Scored dataset: {result.dataset_dir}   (datasets.load_from_disk)
Picture:        {result.picture}
""")


if __name__ == "__main__":
    app()
