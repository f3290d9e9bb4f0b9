"""Draw the pictures of results that are at hand; nothing is trained.

    python -m benchmarks.evidence.pictures [FOLDER ...]

``curves-*.png`` and ``differences-*.png`` of each folder, beside its ``runs.jsonl``, where git ignores them. A folder
has the name of its experiment; without any, all of ``benchmarks/evidence/results`` are drawn.
"""

import argparse
from pathlib import Path

from benchmarks.evidence.config import Experiment
from benchmarks.evidence.plots import draw
from benchmarks.evidence.run import read_lines

EXPERIMENTS = Path(__file__).parent / "experiments"
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="*", metavar="FOLDER")
    for folder in parser.parse_args().folders or sorted(lines.parent for lines in RESULTS.glob("*/runs.jsonl")):
        experiment = Experiment.read(EXPERIMENTS / f"{folder.resolve().name}.json")
        records = read_lines(folder / "runs.jsonl", experiment)
        if not records:
            parser.error(f"{folder} has no runs.jsonl with a finished run: train some with benchmarks.evidence.run.")
        draw(experiment, records, folder)
        print(folder)


if __name__ == "__main__":
    main()
