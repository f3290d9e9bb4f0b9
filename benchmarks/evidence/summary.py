"""From the lines of the runs to figures: means, paired differences, steps to what uniform reaches."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import mean, median, stdev
from typing import Any

from benchmarks.evidence.config import Experiment
from benchmarks.evidence.evaluate import METRICS, Metric
from benchmarks.report import print_table

Records = list[dict[str, Any]]

_PLACE = ["rows", "epochs", "steps", "curriculum", "arm"]


@dataclass(frozen=True)
class Estimate:
    """A mean, and its standard error over seeds, NaN for one seed."""

    mean: float
    error: float

    def __str__(self) -> str:
        return f"{self.mean:.4f}" if math.isnan(self.error) else f"{self.mean:.4f} ± {self.error:.4f}"


@dataclass(frozen=True)
class Comparison:
    """An arm beside another, uniform as a rule, over the seeds that both have.

    Attributes:
        final: Quality at the end.
        difference: Final quality minus that of the other, seed by seed.
        better: Seeds in which the arm is better.
        seeds: Number of seeds.
        reached: For each seed, steps until the run is as good as the other's end; infinite if it never is.
    """

    final: Estimate
    difference: Estimate
    better: int
    seeds: int
    reached: list[float]


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and standard error."""
    return Estimate(mean(values), stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan)


def steps_to_reach(curve: list[dict[str, float]], metric: str, goal: float) -> float:
    """Steps at which a curve first is at the goal, between two evaluations by a straight line; infinite if never."""
    sign = METRICS[metric].sign
    missing = [sign * (goal - point[metric]) for point in curve]
    if missing[0] <= 0:
        return curve[0]["step"]
    for (before, after), (then, now) in zip(pairwise(curve), pairwise(missing), strict=True):
        if now <= 0:
            return before["step"] + then / (then - now) * (after["step"] - before["step"])
    return math.inf


def compare(arm: Records, other: Records, metric: str) -> Comparison:
    """Pair the runs of an arm with those of another of the same seeds, at one budget."""
    goals = {record["seed"]: record["curve"][-1][metric] for record in other}
    pairs = [(record["curve"], goals[record["seed"]]) for record in arm if record["seed"] in goals]
    differences = [curve[-1][metric] - goal for curve, goal in pairs]
    return Comparison(
        final=estimate([curve[-1][metric] for curve, _ in pairs]),
        difference=estimate(differences),
        better=sum(METRICS[metric].sign * difference > 0 for difference in differences),
        seeds=len(pairs),
        reached=[steps_to_reach(curve, metric, goal) for curve, goal in pairs],
    )


def paired(runs: dict[str, Records], arm: str, other: str = "uniform") -> bool:
    """Whether two arms have a seed in common."""
    seeds, others = ({record["seed"] for record in runs.get(name, [])} for name in (arm, other))
    return bool(seeds & others)


def select(records: Records, budget: tuple[int, int], variant: str, arm: str) -> Records:
    """Runs of an arm at a budget; the uniform ones belong to all variants."""
    key = (*budget, None if arm == "uniform" else variant, arm)
    found = [
        record for record in records if (record["rows"], record["steps"], record["variant"], record["arm"]) == key
    ]
    return sorted(found, key=lambda record: record["seed"])


def runs_of(experiment: Experiment, records: Records, budget: tuple[int, int], variant: str) -> dict[str, Records]:
    """The runs of each arm of a variant at a budget, uniform first."""
    return {arm: select(records, budget, variant, arm) for arm in ["uniform", *experiment.recipe(variant).arms]}


def measured(records: Records) -> dict[str, Metric]:
    """The metrics that the runs have."""
    return {name: metric for name, metric in METRICS.items() if records and name in records[0]["curve"][-1]}


def print_summary(experiment: Experiment, records: Records) -> None:
    """One Markdown table a metric."""
    print(
        f"{experiment.question}\n\n"
        f"{len(records)} of {len(experiment.runs())} runs; evaluated on {_split(experiment)}\n"
    )
    for name, metric in measured(records).items():
        table = []
        for budget in experiment.budgets:
            place = [budget[0], f"{epochs(experiment, budget):.3g}", budget[1]]
            first = list(experiment.variants)[0]
            for variant in experiment.variants:
                runs = runs_of(experiment, records, budget, variant)
                shown = [arm for arm in runs if paired(runs, arm) and (arm != "uniform" or variant == first)]
                for arm in shown:
                    label = None if arm == "uniform" else variant
                    table.append([*place, label, arm, *_cells(runs, arm, name, budget[1])])
        print_table(
            [*_PLACE, metric.title, "minus uniform", "better", "minus random pool", "steps to uniform's end"], table
        )


def epochs(experiment: Experiment, budget: tuple[int, int]) -> float:
    """Passes over the rows of a budget."""
    rows, steps = budget
    return steps * experiment.batch_size / rows


def _split(experiment: Experiment) -> str:
    return {"test": "the test split", "held_out": "held-out training rows"}[experiment.evaluate_on]


def _cells(runs: dict[str, Records], arm: str, metric: str, budget_steps: int) -> list[str | None]:
    found = compare(runs[arm], runs["uniform"], metric)
    middle, times = median(found.reached), sum(map(math.isfinite, found.reached))
    steps = f"{middle:,.0f}" if math.isfinite(middle) else f"> {budget_steps:,}"
    beside = [None, None] if arm == "uniform" else [str(found.difference), f"{found.better} of {found.seeds}"]
    pool = None
    if arm in ("easy_first", "hard_first") and paired(runs, arm, "random_pool"):
        pool = str(compare(runs[arm], runs["random_pool"], metric).difference)
    return [str(found.final), *beside, pool, f"{steps} ({times} of {found.seeds})"]
