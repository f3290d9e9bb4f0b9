"""Does ``score_parquet`` grow with its actors? An encoder that sleeps, so that 8 of them fit on any machine.

    python benchmarks/ray_scale.py              # about ten minutes, most of them the start of actors
    python benchmarks/ray_scale.py --actors 1 2

Rows a second are those of the steady state, from the moment when all actors embed to the moment when the first has
nothing left: on a small machine the rest is the start of processes. Beside it the memory of driver and actors with
10,000 and 200,000 rows, and many small files beside a large one.
"""

import argparse
import os
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import ray
from report import print_json, print_table

from hf_curriculum import score_parquet

BATCH = 256
MEGABYTE = 2**20


class Sleeper:
    """An encoder that takes its time, and notes when it has been called in which process."""

    def __init__(self, notes, seconds):
        self.notes, self.seconds = str(notes), seconds

    def __call__(self, texts):
        """Vectors of some texts."""
        time.sleep(self.seconds)
        with open(f"{self.notes}/{os.getpid()}", "a") as file:
            file.write(f"{time.time()} {len(texts)}\n")
        return np.array([[len(text) + i for i in range(64)] for text in texts], np.float32)


class Memory(threading.Thread):
    """The most that driver and actors have had, bytes of their own."""

    def __init__(self):
        super().__init__(daemon=True)
        self.driver, self.actor, self.ended = 0, 0, False

    def run(self):
        """Look five times a second."""
        while not self.ended:
            self.driver = max(self.driver, psutil.Process().memory_full_info().uss)
            for process in psutil.process_iter():
                try:
                    if "ray::_Worker" in " ".join(process.cmdline()):
                        self.actor = max(self.actor, process.memory_full_info().uss)
                except psutil.Error:
                    pass
            time.sleep(0.2)


def write(folder, rows, files):
    folder.mkdir()
    for i, some in enumerate(np.array_split(np.arange(rows), files)):
        table = pa.table({"text": [f"row {row} " + "x" * (row % 50) for row in some]})
        pq.write_table(table, folder / f"{i:05d}.parquet")


def steady(notes):
    """Rows a second while all actors embed."""
    calls = [[line.split() for line in file.read_text().splitlines()] for file in notes.iterdir()]
    calls = [[(float(when), int(rows)) for when, rows in lines] for lines in calls]
    begin, end = max(lines[0][0] for lines in calls), min(lines[-1][0] for lines in calls)
    # Of each actor from its own first call to its own last in that time: a call that is cut off does not count.
    rates = []
    for lines in calls:
        inside = [(when, rows) for when, rows in lines if begin <= when <= end]
        rates.append(sum(rows for _, rows in inside[1:]) / (inside[-1][0] - inside[0][0]))
    return sum(rates), len(calls)


def measure(rows, files, actors, seconds):
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        write(folder / "in", rows, files)
        (folder / "notes").mkdir()
        memory = Memory()
        memory.start()
        start = time.perf_counter()
        score_parquet(
            folder / "in",
            folder / "out",
            Sleeper(folder / "notes", seconds),
            input_column="text",
            batch_size=BATCH,
            n_clusters=16,
            sample_rows=4096,
            concurrency=actors,
        )
        took = time.perf_counter() - start
        memory.ended = True
        rate, seen = steady(folder / "notes")
    return {
        "rows": rows,
        "files": files,
        "actors": seen,
        "rows_per_second": round(rate),
        "seconds": round(took, 1),
        "driver_mb": round(memory.driver / MEGABYTE),
        "actor_mb": round(memory.actor / MEGABYTE),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--actors", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--seconds", type=float, default=0.15, help="that a batch of 256 rows takes")
    parser.add_argument("--parts", type=int, default=16, help="of 2,048 rows, an actor")
    options = parser.parse_args()
    ray.init(num_cpus=max(options.actors), include_dashboard=False, log_to_driver=False)
    measure(4096, 1, 1, 0.0)  # what is loaded once
    growing = [measure(2048 * options.parts * n, 4, n, options.seconds) for n in options.actors]
    sizes = [measure(rows, 4, 2, 0.001) for rows in (10_000, 200_000)]
    shapes = [measure(100_000, files, 2, 0.05) for files in (1, 1000)]
    ray.shutdown()
    one = growing[0]["rows_per_second"] / growing[0]["actors"]
    runs = [*growing, *sizes, *shapes]
    linear = [run["rows_per_second"] / one / run["actors"] if run in growing else None for run in runs]
    header = [*runs[0], "of linear"]
    print_table(header, [[*run.values(), share] for run, share in zip(runs, linear, strict=True)])
    print_json({"runs": runs, "of_linear": linear})


if __name__ == "__main__":
    main()
