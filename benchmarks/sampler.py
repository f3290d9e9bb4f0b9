"""What does a training step's draw cost, in time and memory, beside the samplers that one would use instead?

    python benchmarks/sampler.py --reference PATH_TO_CHECKOUT_OF_DATAWARMUP [--rows 100000 1281167]

Beside CurriculumSampler, in the same process and by turns: the reference code's weights of a step with
``WeightedRandomSampler`` for its 256 draws; plain ``WeightedRandomSampler`` and ``RandomSampler`` over an epoch. Every
number of rows has a fresh process. Without ``--reference`` its rows stay empty.

- "bytes a row": numpy's allocations that are alive after the build, and their peak during it, the caller's array not
  counted; "RSS" is the growth of the process in another build.
- "step, warm-up": mean over 64 consecutive steps, median over all blocks of a warm-up of 2,048 steps.
- "step 1,000,000": ``indices`` of a step whose neighbours have not been asked for, median of 11.
- "index": ``iter()`` from its call to the end of an epoch (of at most 4 M draws), per index, best of 5 epochs.
"""

import argparse
import gc
import importlib.util
import math
import multiprocessing
import resource
import sys
import time
import tracemalloc
import warnings
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from pathlib import Path
from statistics import median

import numpy as np
import psutil
import torch
from report import print_json, print_table
from torch.utils.data import DataLoader, Dataset, RandomSampler, WeightedRandomSampler

from hf_curriculum import CurriculumConfig, CurriculumSampler, effective_fraction, solve_temperature

BATCH, WARMUP, BLOCK, STEP = 256, 2048, 64, 1_000_000
LISTED = 2**25  # the other samplers hold an epoch's indices in a list: 5 GB for 100 M rows
WORKERS, WORKER_ROWS = 4, 2**24
TARGET_ROWS = 5_000_000


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_281_167, 2**24 + 1, 100_000_000])
    parser.add_argument("--reference", type=Path, help="checkout of the authors' code")
    args = parser.parse_args()
    sizes = {rows: in_fresh_process(measure, rows, args.reference) for rows in args.rows}
    workers = {kind: in_fresh_process(worker_memory, kind) for kind in ("none", "curriculum", "random")}
    exactness = in_fresh_process(measure_exactness, args.reference)
    print_sizes(sizes)
    print_others(workers, exactness)
    print_json({"sizes": sizes, "workers": workers, "exactness": exactness})


def in_fresh_process(function, *args):
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *args).result()


# Time and memory at one number of rows


def measure(rows, reference):
    print(f"{rows:,} rows ...", file=sys.stderr)
    before = rss()
    difficulty = difficulties(rows)
    start, cpu = time.perf_counter(), time.process_time()
    sampler = CurriculumSampler(difficulty, CurriculumConfig(warmup_steps=WARMUP), total_batch_size=BATCH)
    figures = {"build_s": time.perf_counter() - start, "build_cpu_s": time.process_time() - cpu}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    figures["rss_peak_bytes_per_row"] = (peak - before - difficulty.nbytes) / rows
    del difficulty
    gc.collect()
    figures["rss_bytes_per_row"] = (rss() - before) / rows
    figures |= solve_and_jump(sampler)
    figures |= steps_by_turns(sampler, reference if rows <= LISTED else None)
    figures |= indices_by_turns(sampler, rows <= LISTED)
    del sampler
    return figures | traced_build(difficulties(rows))


def difficulties(rows):
    rng = np.random.default_rng(0)
    array = np.empty(rows, np.float32)
    for start in range(0, rows, 1 << 20):  # in pieces, so that the peak of the memory is the sampler's
        array[start : start + (1 << 20)] = rng.beta(2, 3, min(1 << 20, rows - start))
    return array


def rss():
    return psutil.Process().memory_info().rss


def traced_build(difficulty):
    tracemalloc.start()
    sampler = CurriculumSampler(difficulty, CurriculumConfig(warmup_steps=2 * STEP), total_batch_size=BATCH)
    alive, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return {
        "bytes_per_row": alive / difficulty.size,
        "peak_bytes_per_row": peak / difficulty.size,
        "random_access_warmup_ms": random_access(sampler),
    }


def random_access(sampler):
    return 1e3 * median(timed(sampler.indices, STEP - 1009 * i) for i in range(11))


def solve_and_jump(sampler):
    solve = median(timed(sampler.temperature, step) for step in range(0, WARMUP, 8))
    return {"solve_us": 1e6 * solve, "random_access_uniform_ms": random_access(sampler)}


def timed(function, *args):
    start = time.perf_counter()
    function(*args)
    return time.perf_counter() - start


def steps_by_turns(sampler, reference):
    """Microseconds of a step: all blocks of the warm-up and as many after it, the reference's steps in between."""
    curriculum = reference and load_reference(reference, difficulties(sampler.rows))
    every = WARMUP // BLOCK // (11 if sampler.rows < 2**24 else 3)
    ours, walk, weights, theirs = [], [], [], []
    for i, first in enumerate(range(0, WARMUP, BLOCK)):
        ours.append(block_time(sampler, first))
        walk.append(block_time(sampler, WARMUP + first))
        if curriculum and i % every == every // 2:
            seconds, drawn = reference_step(curriculum, first)
            weights.append(seconds)
            theirs += [drawn] if drawn else []
    return {
        "step_warmup_us": 1e6 * median(ours),
        "step_uniform_us": 1e6 * median(walk),
        "reference_weights_us": 1e6 * median(weights) if weights else None,
        "reference_step_us": 1e6 * median(theirs) if theirs else None,
    }


def block_time(sampler, first):
    start = time.perf_counter()
    for step in range(first, first + BLOCK):
        sampler.indices(step)
    return (time.perf_counter() - start) / BLOCK


def reference_step(curriculum, step):
    """Seconds for the weights, and for weights and draws; ``None`` if torch refuses to draw."""
    start = time.perf_counter()
    weights = curriculum.get_curriculum_weights(current_iteration=step)
    weighted = time.perf_counter() - start
    try:
        list(WeightedRandomSampler(weights, BATCH))
    except RuntimeError:
        return weighted, None
    return weighted, time.perf_counter() - start


def load_reference(checkout, difficulty):
    spec = importlib.util.spec_from_file_location("reference", checkout / "curriculum_learning.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    curriculum = module.CurriculumLearning(None, warmup_iterations=WARMUP)
    curriculum.weights_ = difficulty
    return curriculum


def indices_by_turns(sampler, listed):
    """Nanoseconds of an index: whole epochs through ``iter()``, by turns."""
    rows = sampler.rows
    weights = torch.ones(rows if listed else 1, dtype=torch.float64)
    draws = min(rows, 1 << 22)
    sampler.set_epoch(math.ceil(WARMUP * BATCH / rows))  # after the warm-up
    times = {"ours": [], "random": [], "weighted": []}
    error = None
    for _ in range(5):
        times["ours"].append(index_time(sampler, draws))
        if not listed:
            continue
        times["random"].append(index_time(RandomSampler(range(rows)), rows))
        try:
            times["weighted"].append(index_time(WeightedRandomSampler(weights, rows), rows))
        except RuntimeError as refused:
            error = str(refused)
    found = {f"index_{name}_ns": 1e9 * min(values) if values else None for name, values in times.items()}
    return found | {"weighted_error": error}


def index_time(sampler, draws):
    start = time.perf_counter()
    count = sum(1 for _ in islice(sampler, draws))
    return (time.perf_counter() - start) / count


# Memory of the workers of a loader


class Nothing(Dataset):
    """Rows without content."""

    def __len__(self):
        return WORKER_ROWS

    def __getitem__(self, index):
        return index


def worker_memory(kind):
    """MiB of a training process and its forked workers, in the middle of an epoch over 2^24 rows."""
    sampler = {
        "none": lambda: range(WORKER_ROWS),
        "random": lambda: RandomSampler(range(WORKER_ROWS)),
        "curriculum": lambda: CurriculumSampler(difficulties(WORKER_ROWS), total_steps=1000, total_batch_size=BATCH),
    }[kind]()
    gc.collect()
    warnings.filterwarnings("ignore", message="This DataLoader will create 4 worker processes")
    loader = DataLoader(
        Nothing(), BATCH, sampler=sampler, num_workers=WORKERS, multiprocessing_context="fork", persistent_workers=True
    )
    batches = iter(loader)
    for _ in range(500):
        next(batches)
    main_process = psutil.Process()
    memory = [process.memory_full_info() for process in [main_process, *main_process.children()]]
    assert len(memory) == 1 + WORKERS
    return {
        "main_rss_mib": memory[0].rss / 2**20,
        "worker_uss_mib": [worker.uss / 2**20 for worker in memory[1:]],
        "worker_pss_mib": [worker.pss / 2**20 for worker in memory[1:]],
        "total_pss_mib": sum(process.pss for process in memory) / 2**20,
    }


# Exactness


def measure_exactness(reference):
    """Share drawn of the second half of 2^24 rows, half as likely as the first; solved temperatures at 5 M rows."""
    torch.manual_seed(0)
    half, draws = 2**23, 2**20
    weights = torch.ones(2 * half)
    weights[:half] = 2
    found = {"expected": 1 / 3, "standard_error": math.sqrt(2 / 9 / draws)}
    for dtype in (torch.float32, torch.float64):
        drawn = torch.multinomial(weights.to(dtype), draws, replacement=True)
        found[f"multinomial_{str(dtype).removeprefix('torch.')}"] = (drawn >= half).double().mean().item()
    difficulty = np.repeat(np.array([0, 1], np.float32), half)
    # Effective fraction at which a row of the first half is twice as likely: p N = 4/3 and 2/3.
    fraction = 1 - (math.exp(-4 / 3) + math.exp(-2 / 3)) / 2
    config = CurriculumConfig(initial_fraction=fraction, warmup_steps=draws // BATCH, schedule="step")
    sampler = CurriculumSampler(difficulty, config, total_batch_size=BATCH)
    assert math.isclose(sampler.temperature(0), 1 / math.log(2), rel_tol=1e-4)
    found["ours"] = float(np.mean([(sampler.indices(step) >= half).mean() for step in range(draws // BATCH)]))
    return found | {"solved": solved_targets(TARGET_ROWS, reference)}


def solved_targets(rows, reference):
    """True effective fraction at the temperature solved for a target, and what the reference takes it for."""
    difficulty = difficulties(rows)
    curriculum = reference and load_reference(reference, difficulty)
    found = []
    for target in (0.3, 0.62):
        row = {"target": target, "ours": effective_fraction(difficulty, solve_temperature(difficulty, target))}
        if curriculum:
            start = time.perf_counter()
            temperature = curriculum._find_temperature_for_effective_size(target)
            row["reference_s"] = time.perf_counter() - start
            row["reference"] = effective_fraction(difficulty, temperature)
            row["reference_believes"] = curriculum._compute_effective_dataset_size(difficulty, temperature)
        found.append(row)
    return found


# Report


def print_sizes(sizes):
    rows = [
        ("build, s", "build_s", "<= 30 at 100 M"),
        ("... of which processor time, s", "build_cpu_s", ""),
        ("bytes a row after the build", "bytes_per_row", "<= 12"),
        ("... at the peak of the build", "peak_bytes_per_row", ""),
        ("... RSS after the build", "rss_bytes_per_row", ""),
        ("... RSS at the peak", "rss_peak_bytes_per_row", ""),
        ("temperature of a step, us", "solve_us", ""),
        ("step 1,000,000 in the warm-up, ms", "random_access_warmup_ms", ""),
        ("step 1,000,000 in the uniform walk, ms", "random_access_uniform_ms", ""),
        ("step of 256, warm-up, us", "step_warmup_us", ""),
        ("step of 256, uniform walk, us", "step_uniform_us", ""),
        ("reference: weights of a step, us", "reference_weights_us", ""),
        ("reference: step of 256, us", "reference_step_us", ""),
        ("index, ns", "index_ours_ns", ""),
        ("RandomSampler: index, ns", "index_random_ns", ""),
        ("WeightedRandomSampler: index, ns", "index_weighted_ns", ""),
        ("WeightedRandomSampler: error", "weighted_error", ""),
    ]
    ratios = [
        ("**reference's weights / our step**", ("reference_weights_us", "step_warmup_us"), ""),
        ("**reference's step / our step**", ("reference_step_us", "step_warmup_us"), ">= 1,000 at 1.28 M"),
        ("**our index / RandomSampler's**", ("index_ours_ns", "index_random_ns"), "<= 2"),
    ]
    table = [[label, *(figures[key] for figures in sizes.values()), aim] for label, key, aim in rows]
    for label, (above, below), aim in ratios:
        table.append([label, *(ratio(figures[above], figures[below]) for figures in sizes.values()), aim])
    print_table(["rows", *sizes, "aim"], table)


def ratio(above, below):
    return above / below if above and below else None


def print_others(workers, exactness):
    idle, ours, others = (workers[kind] for kind in ("none", "curriculum", "random"))
    arrays = 8 * WORKER_ROWS / 2**20
    rows = [
        ("USS of a worker (largest of 4), MiB", *(max(w["worker_uss_mib"]) for w in (ours, others, idle)), ""),
        ("PSS of main + 4 workers, MiB", *(w["total_pss_mib"] for w in (ours, others, idle)), ""),
        (
            "**... more than without / 8 bytes a row**",
            *((w["total_pss_mib"] - idle["total_pss_mib"]) / arrays for w in (ours, others)),
            None,
            "1",
        ),
    ]
    print_table([f"loader over {WORKER_ROWS:,} rows", "ours", "RandomSampler", "range", "aim"], rows)
    share = [exactness[key] for key in ("ours", "multinomial_float32", "multinomial_float64", "expected")]
    print_table(
        ["2^24 rows", "ours", "multinomial, float32", "multinomial, float64", "expected"],
        [["share drawn of the half that is half as likely", *share]],
    )
    print_table(
        [f"{TARGET_ROWS:,} rows: effective fraction", "ours", "reference", "reference believes", "reference takes, s"],
        [
            [f"target {row['target']}"]
            + [row.get(key) for key in ("ours", "reference", "reference_believes", "reference_s")]
            for row in exactness["solved"]
        ],
    )


if __name__ == "__main__":
    main()
