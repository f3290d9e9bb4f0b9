"""The figures: quality over steps, and differences over budgets."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.evidence.config import Experiment
from benchmarks.evidence.summary import Records, compare, epochs, measured, paired, runs_of

_COLOURS = {"uniform": "#000000", "random_pool": "#E69F00", "easy_first": "#0072B2", "hard_first": "#D55E00"}
_OFFSETS = {"random_pool": -0.15, "easy_first": 0.0, "hard_first": 0.15}


def draw(experiment: Experiment, records: Records, output: Path) -> None:
    """Two PNG files a metric: ``curves-METRIC.png`` and ``differences-METRIC.png``."""
    for name, metric in measured(records).items():
        _curves(experiment, records, name, metric.title).savefig(output / f"curves-{name}.png", dpi=120)
        _differences(experiment, records, name, metric.title).savefig(output / f"differences-{name}.png", dpi=120)


def _curves(experiment: Experiment, records: Records, metric: str, title: str) -> Figure:
    """A row of panels a budget, a panel a variant; bands are a standard error to each side."""
    shape = len(experiment.budgets), len(experiment.variants)
    figure = Figure(figsize=(4.2 * shape[1], 3.4 * shape[0]), layout="constrained")
    panels = figure.subplots(*shape, squeeze=False, sharey="row")
    for budget, row in zip(experiment.budgets, panels, strict=True):
        for variant, ax in zip(experiment.variants, row, strict=True):
            for arm, runs in runs_of(experiment, records, budget, variant).items():
                _band(ax, runs, metric, arm)
            ax.set(title=f"{variant}\n{_label(experiment, budget)}", xlabel="steps", ylabel=title)
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


def _differences(experiment: Experiment, records: Records, metric: str, title: str) -> Figure:
    """A panel a budget: final figure minus uniform's, with its standard error over the pairs, by variant."""
    figure = Figure(figsize=(4 + 0.9 * len(experiment.variants), 3.8 * len(experiment.budgets)), layout="constrained")
    panels = figure.subplots(len(experiment.budgets), 1, squeeze=False)[:, 0]
    for budget, ax in zip(experiment.budgets, panels, strict=True):
        for place, variant in enumerate(experiment.variants):
            runs = runs_of(experiment, records, budget, variant)
            for arm in (arm for arm in _OFFSETS if paired(runs, arm)):
                found = compare(runs[arm], runs["uniform"], metric).difference
                x = place + _OFFSETS[arm]
                ax.errorbar(x, found.mean, found.error, fmt="o", capsize=3, color=_COLOURS[arm], label=arm)
        ax.axhline(0, color=_COLOURS["uniform"], linewidth=0.8)
        ax.set(title=_label(experiment, budget), ylabel=f"{title} minus uniform's")
        ax.set_xticks(range(len(experiment.variants)), experiment.variants, rotation=20, ha="right")
        ax.set_xlim(-0.5, len(experiment.variants) - 0.5)
        handles = dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))  # each arm once
        ax.legend(handles.values(), handles.keys())
    return figure


def _label(experiment: Experiment, budget: tuple[int, int]) -> str:
    return f"{budget[0]:,} rows, {epochs(experiment, budget):.3g} epochs"
