"""The figures: quality over steps, and differences over budgets."""

from itertools import product
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.evidence.config import Experiment
from benchmarks.evidence.evaluate import METRICS
from benchmarks.evidence.summary import Records, compare, epochs, paired, select

_COLOURS = {"uniform": "#000000", "random_pool": "#E69F00", "easy_first": "#0072B2", "hard_first": "#D55E00"}


def draw(experiment: Experiment, records: Records, output: Path) -> None:
    """Two PNG files a metric: ``curves-METRIC.png`` and ``differences-METRIC.png``."""
    for metric in METRICS:
        _curves(experiment, records, metric).savefig(output / f"curves-{metric}.png", dpi=120)
        _differences(experiment, records, metric).savefig(output / f"differences-{metric}.png", dpi=120)


def _curves(experiment: Experiment, records: Records, metric: str) -> Figure:
    """A row of panels a kind of features, a panel a budget; bands are a standard error to each side."""
    shape = len(experiment.features), len(experiment.budgets)
    figure = Figure(figsize=(4.2 * shape[1], 3.4 * shape[0]), layout="constrained")
    panels = figure.subplots(*shape, squeeze=False, sharey=True)
    for features, row in zip(experiment.features, panels, strict=True):
        for budget, ax in zip(experiment.budgets, row, strict=True):
            for arm in ["uniform", *experiment.arms]:
                _band(ax, select(records, budget, features, arm), metric, arm)
            ax.set(title=f"{features}: {_label(experiment, budget)}", xlabel="steps", ylabel=METRICS[metric])
    panels[0, 0].legend()
    return figure


def _band(ax: Axes, runs: Records, metric: str, arm: str) -> None:
    if not runs:
        return
    steps = [point["step"] for point in runs[0]["curve"]]
    values = np.array([[point[metric] for point in run["curve"]] for run in runs])
    middle, error = values.mean(axis=0), np.zeros(len(steps))
    if len(runs) > 1:
        error = values.std(axis=0, ddof=1) / np.sqrt(len(runs))
    ax.plot(steps, middle, color=_COLOURS[arm], label=arm)
    ax.fill_between(steps, middle - error, middle + error, color=_COLOURS[arm], alpha=0.2, linewidth=0)


def _differences(experiment: Experiment, records: Records, metric: str) -> Figure:
    """A panel a kind of features: final quality minus uniform's, with its standard error over the pairs."""
    figure = Figure(figsize=(5.2 * len(experiment.features), 3.6), layout="constrained")
    panels = figure.subplots(1, len(experiment.features), squeeze=False, sharey=True)[0]
    for features, ax in zip(experiment.features, panels, strict=True):
        for (place, budget), (offset, arm) in product(enumerate(experiment.budgets), enumerate(experiment.arms)):
            runs = {name: select(records, budget, features, name) for name in ("uniform", arm)}
            if paired(runs, arm):
                found = compare(runs[arm], runs["uniform"], metric).difference
                x = place + 0.15 * (offset - (len(experiment.arms) - 1) / 2)
                label = arm if place == 0 else None
                ax.errorbar(x, found.mean, found.error, fmt="o", capsize=3, color=_COLOURS[arm], label=label)
        ax.axhline(0, color=_COLOURS["uniform"], linewidth=0.8)
        ax.set(title=f"difficulties from {features}", ylabel=f"{METRICS[metric]} minus uniform's")
        ax.set_xticks(range(len(experiment.budgets)), [_label(experiment, budget) for budget in experiment.budgets])
        ax.set_xlim(-0.5, len(experiment.budgets) - 0.5)
        ax.legend()
    return figure


def _label(experiment: Experiment, budget: tuple[int, int]) -> str:
    return f"{budget[0]:,} images,\n{epochs(experiment, budget):.3g} epochs"
