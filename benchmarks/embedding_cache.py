"""What does a second call of ``add_embeddings`` cost?

    python benchmarks/embedding_cache.py --data agnews.parquet

The same call twice, the second one with the vectors in the cache, each in a new process; and, for a dataset of as many
shards as there can be, the second call of an encoder that costs nothing. Fails if the second call takes 2 % or more of
the first. The time to import torch and transformers is left out.
"""

import argparse
import json
import subprocess
import sys
import tempfile

from report import print_json, print_table

CALL = """
import json, sys, time
import numpy as np
from datasets import disable_progress_bars, load_dataset
from hf_curriculum import add_embeddings

def cheap(rows):
    return np.zeros((len(rows), 384), np.float32)

data, rows, model, cache, shard_size = sys.argv[1:]
disable_progress_bars()
dataset = load_dataset("parquet", data_files=data, split="train").select(range(int(rows)))
start = time.perf_counter()
add_embeddings(dataset, cheap if model == "cheap" else model, cache_dir=cache, shard_size=int(shard_size) or None)
print(json.dumps(time.perf_counter() - start))
"""


def seconds(*words: object) -> float:
    done = subprocess.run([sys.executable, "-c", CALL, *map(str, words)], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="Parquet file with a text column")
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--minilm", default="sentence-transformers/all-MiniLM-L6-v2")
    args = parser.parse_args()
    table = []
    for name, model, shard_size in [("MiniLM", args.minilm, 0), ("256 shards", "cheap", -(-args.rows // 256))]:
        with tempfile.TemporaryDirectory() as cache:
            first, second = (seconds(args.data, args.rows, model, cache, shard_size) for _ in range(2))
        table.append((name, first, second, second / first))
    print_table([f"{args.rows} rows", "first call, s", "second call, s", "share"], table)
    print_json({"rows": args.rows, "calls": table})
    share = table[0][3]
    if share >= 0.02:
        raise SystemExit(f"The second call takes {100 * share:.1f} % of the first.")


if __name__ == "__main__":
    main()
