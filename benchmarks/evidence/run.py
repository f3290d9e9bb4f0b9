r"""Does a curriculum help? Train every arm of an experiment alike, and compare in pairs.

    python -m benchmarks.evidence.run benchmarks/evidence/experiments/cpu.json --output results \
        [--data FOLDER] [--minilm FOLDER] [--processes 2] [--summary]

Each finished run is a line of ``runs.jsonl`` in the output; called again, the command does what is missing. A run that
was cut off, by a kill, too, goes on from its file in ``unfinished/``, which is written at each evaluation and every 15
seconds; on a CPU its curve is the very one of a run that was not. At its end the command prints the tables and draws
the plots of all lines there; with ``--summary`` it does this alone.
"""

import argparse
import json
import multiprocessing
import os
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import torch
from datasets import disable_progress_bars

from benchmarks.evidence.config import Experiment, Run, digest
from benchmarks.evidence.difficulties import Place, embeddings, scored
from benchmarks.evidence.plots import draw
from benchmarks.evidence.summary import print_summary
from benchmarks.evidence.work import train, unfinished_run


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_place(parser)
    parser.add_argument("--processes", type=int, default=1, help="runs at the same time; on CPUs one a core")
    parser.add_argument("--threads", type=int, default=1, help="of torch, in each process")
    parser.add_argument("--summary", action="store_true", help="train nothing")
    args = parser.parse_args()
    experiment = Experiment.read(args.experiment)
    args.output.mkdir(parents=True, exist_ok=True)
    lines = args.output / "runs.jsonl"
    if not args.summary:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(args.processes, context, start_process, [args.threads]) as pool:
            run_missing(experiment, place_of(args), lines, pool)
    records = read_lines(lines, experiment)
    print_summary(experiment, records)
    draw(experiment, records, args.output)


def add_place(parser: argparse.ArgumentParser) -> None:
    """The arguments that every command of an experiment has."""
    parser.add_argument("experiment", type=Path, help="JSON file, see config.py")
    parser.add_argument("--output", type=Path, required=True, help="folder of the results")
    parser.add_argument("--data", help="Parquet file, or folder of Parquet or IDX files; default the Hub")
    parser.add_argument("--minilm", default="sentence-transformers/all-MiniLM-L6-v2", help="Hub id or folder")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")


def place_of(args: argparse.Namespace) -> Place:
    """Where these arguments say that the experiment runs."""
    return Place(args.data, args.output, args.device, args.minilm)


def start_process(threads: int) -> None:
    torch.set_num_threads(threads)
    disable_progress_bars()
    threading.Thread(target=end_with_parent, daemon=True).start()


def end_with_parent() -> None:
    """A process of the pool would wait for work for ever if its parent is killed."""
    multiprocessing.parent_process().join()
    os._exit(1)


def run_missing(experiment: Experiment, place: Place, lines: Path, pool: ProcessPoolExecutor) -> None:
    """Train what has no line yet, and append a line for each run as it ends."""
    missing = missing_runs(experiment, lines)
    for run in set(experiment.runs()) - set(missing):  # a kill may come between a line and the end of its file
        unfinished_run(place, experiment, run).remove()
    score_missing(experiment, place, missing, pool)
    futures = {pool.submit(train, place, experiment, run): run for run in missing}
    try:
        for number, future in enumerate(as_completed(futures), start=1):
            with lines.open("a") as file:
                file.write(json.dumps(future.result()) + "\n")
            unfinished_run(place, experiment, futures[future]).remove()
            print(f"{number} of {len(missing)}: {futures[future]}", file=sys.stderr)
    finally:  # Ctrl-C and errors do not wait for the runs that have not begun
        pool.shutdown(cancel_futures=True)


def missing_runs(experiment: Experiment, lines: Path) -> list[Run]:
    """The runs without a line."""
    done = {identity(record) for record in read_lines(lines, experiment)}
    return [run for run in experiment.runs() if run not in done]


def score_missing(experiment: Experiment, place: Place, missing: list[Run], pool: ProcessPoolExecutor) -> None:
    """Make the difficulties of these runs; embeddings first, which several recipes may share."""
    recipes = [(experiment.recipe(run.variant), run.rows) for run in missing if run.variant]
    embedded = {(recipe.features, rows) for recipe, rows in recipes}
    kinds = {(digest(recipe.scoring()), rows): recipe for recipe, rows in recipes}
    for started in (
        [pool.submit(embeddings, place, experiment, *which) for which in sorted(embedded)],
        [pool.submit(scored, place, experiment, recipe, rows) for (_, rows), recipe in kinds.items()],
    ):
        for future in started:
            future.result()


def read_lines(path: Path, experiment: Experiment) -> list[dict[str, Any]]:
    """The finished runs; what a kill left of a line is cut off."""
    if not path.exists():
        return []
    whole, newline, rest = path.read_text("utf-8").rpartition("\n")
    if rest:
        path.write_text(whole + newline, "utf-8")
    records = [json.loads(line) for line in whole.splitlines()]
    if any(differs(record, experiment) for record in records):
        raise ValueError(f"{path} has runs of other settings: choose another --output.")
    return records


def differs(record: dict[str, Any], experiment: Experiment) -> bool:
    """Whether a line is of other settings than those of the experiment, in what all share or in its own variant."""
    run = identity(record)
    if record["fingerprint"] != experiment.fingerprint():
        return True
    return run.variant in experiment.variants and record["recipe"] != experiment.made_by(run)


def identity(record: dict[str, Any]) -> Run:
    """The run that a line is of."""
    return Run(*(record[name] for name in Run.__dataclass_fields__))


if __name__ == "__main__":
    main()
