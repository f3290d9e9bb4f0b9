"""The command line: ``hf-curriculum score``, ``report``, ``push`` and ``demo``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hf_curriculum.cli.console import Application, answer, answering, listen
from hf_curriculum.cli.options import Column, Config, Json, Scored, Split
from hf_curriculum.cli.score import score

if TYPE_CHECKING:
    from hf_curriculum.training import CurriculumConfig

app = Application(
    name="hf-curriculum",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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


app.command(short_help="Add difficulty columns to a dataset.")(score)


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
