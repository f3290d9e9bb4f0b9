"""What do time and memory of scoring from embeddings grow with?

    python benchmarks/scale.py --rows 10000 100000 1000000 --dim 384

Each size in a process of its own: a dataset with an embedding column on disk (a mixture of Gaussians), scored by
``add_difficulty`` with K = sqrt(N). Memory is the peak of the process's own pages; those of the mapped file, which the
kernel drops when it likes, are told apart.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
from datasets import Features, List, Value
from datasets.arrow_writer import ArrowWriter
from report import print_json, print_table

SCORE = """
import json, sys, time
from datasets import Dataset
from hf_curriculum import DifficultyScorer, add_difficulty
folder, k = sys.argv[1], int(sys.argv[2])
dataset = Dataset.from_file(f"{folder}/rows.arrow")
print("ready", flush=True)
sys.stdin.readline()
start = time.perf_counter()
add_difficulty(dataset, n_clusters=k)
print(json.dumps(time.perf_counter() - start), flush=True)
"""


def save(folder: Path, rows: int, dim: int) -> None:
    features = Features({"embedding": List(Value("float32"), length=dim)})
    centres = np.random.default_rng(0).standard_normal((2000, dim), np.float32)
    rng = np.random.default_rng(1)
    with ArrowWriter(path=str(folder / "rows.arrow"), features=features) as writer:
        for start in range(0, rows, 10_000):
            n = min(10_000, rows - start)
            found = centres[rng.integers(2000, size=n)] + 1.5 * rng.standard_normal((n, dim), np.float32)
            array = pa.FixedSizeListArray.from_arrays(pa.array(found.ravel()), dim)
            writer.write_table(pa.table({"embedding": array}))
        writer.finalize()


def measure(folder: Path, k: int) -> tuple[float, float, float]:
    """Seconds; MB of own pages above those at the start, at the peak; MB of mapped file pages at the peak."""
    words = [sys.executable, "-c", SCORE, str(folder), str(k)]
    child = psutil.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    child.stdout.readline()
    memory = child.memory_info()
    start, own, mapped = memory.rss - memory.shared, [0], [0]
    child.stdin.write("\n")
    child.stdin.flush()
    while child.poll() is None:
        try:
            memory = child.memory_info()
        except psutil.NoSuchProcess:
            break
        own.append(memory.rss - memory.shared - start)
        mapped.append(memory.shared)
        time.sleep(0.02)
    return json.loads(child.stdout.read()), max(own) / 2**20, max(mapped) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--dim", type=int, default=384)
    args = parser.parse_args()
    table = []
    for rows in args.rows:
        with tempfile.TemporaryDirectory() as folder:
            save(Path(folder), rows, args.dim)
            k = round(rows**0.5)
            seconds, own, mapped = measure(Path(folder), k)
        table.append((rows, k, rows * args.dim * 4 / 2**20, seconds, own, mapped))
    print_table(["rows", "K", "embeddings, MB", "s", "own memory, MB", "mapped file, MB"], table)
    print_json({"args": vars(args), "rows": table})


if __name__ == "__main__":
    main()
