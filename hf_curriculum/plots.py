"""Figures for notebooks, reports and the demo; they need the ``plot`` extra."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from datasets import Dataset

from hf_curriculum._optional import require_extra
from hf_curriculum.columns import CLUSTER, DIFFICULTY, read_difficulty, read_labels, require_column
from hf_curriculum.config import CurriculumConfig
from hf_curriculum.schedule import check_difficulty, curriculum_weights, planned_fraction

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BLUE, _ORANGE = "#2563eb", "#ea580c"


def plot_schedule(config: CurriculumConfig, total_steps: int, ax: "Axes | None" = None) -> "Axes":
    """Effective fraction over the training.

    Args:
        config: The curriculum.
        total_steps: Optimiser steps of the training.
        ax: Axes to draw on; default new ones.

    Returns:
        The axes.
    """
    ax = ax or _new_axes()
    warmup = config.resolve_warmup(total_steps)
    steps = np.arange(total_steps + 1)
    planned = np.where(steps < warmup, planned_fraction(steps, config, warmup), 1 - 1 / np.e)
    ax.plot(steps, planned, color=_BLUE, linewidth=2)
    if warmup <= total_steps:
        ax.axvline(warmup, color="grey", linewidth=1, linestyle=":")
        ax.annotate("uniform from here", (warmup, config.initial_fraction), xytext=(4, 0), textcoords="offset points")
    ax.set(title="Schedule", xlabel="optimiser step", ylabel="effective fraction", ylim=(0, 0.7))
    return ax


def plot_difficulty(
    dataset: Dataset,
    column: str = DIFFICULTY,
    config: CurriculumConfig | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Histogram of the difficulties, and of what the curriculum draws at its first step.

    Args:
        dataset: Scored.
        column: Its difficulty column.
        config: Draws the second histogram; ``None`` leaves it out.
        ax: Axes to draw on; default new ones.

    Returns:
        The axes.

    Raises:
        ValueError: If the column is missing or not a difficulty.
    """
    difficulty = check_difficulty(np.ma.compressed(read_difficulty(dataset, column))).astype(np.float64)
    bins = np.histogram_bin_edges(difficulty, 40).tolist()
    ax = ax or _new_axes()
    ax.hist(difficulty, bins=bins, density=True, color="lightgrey", label="dataset")
    if config is not None:
        weights = curriculum_weights(difficulty, 0, config, total_steps=2)
        ax.hist(
            difficulty,
            bins=bins,
            weights=weights,
            density=True,
            histtype="step",
            color=_ORANGE,
            linewidth=2,
            label="drawn at step 0",
        )
        ax.legend(frameon=False)
    ax.set(title="Difficulty", xlabel=column, ylabel="density")
    return ax


def show_extremes(
    dataset: Dataset, image_column: str, clusters: Sequence[int] | None = None, n: int = 6, column: str = DIFFICULTY
) -> "Figure":
    """The easiest and the hardest images of some clusters, a row a cluster.

    Args:
        dataset: Scored, with a ``cluster`` column.
        image_column: Column of images.
        clusters: Clusters to show; default the five largest.
        n: Images on each side.
        column: Difficulty column.

    Returns:
        A figure.

    Raises:
        ValueError: If a column is missing.
    """
    pyplot = require_extra("matplotlib.pyplot", extra="plot", purpose="show_extremes")
    figure = pyplot.figure(figsize=(1.0 * 2 * n, 5), layout="constrained")
    draw_extremes(figure, dataset, image_column, clusters, n, column)
    return figure


def draw_extremes(
    figure: Any,
    dataset: Dataset,
    image_column: str,
    clusters: Sequence[int] | None = None,
    n: int = 6,
    column: str = DIFFICULTY,
) -> None:
    """Draw :func:`show_extremes` on a figure or subfigure that there is."""
    cluster = read_labels(dataset, CLUSTER)
    difficulty = np.ma.masked_array(read_difficulty(dataset, column))
    require_column(dataset, image_column)
    if clusters is None:
        sizes = np.bincount(cluster)
        clusters = np.argsort(-sizes, kind="stable")[: min(5, np.count_nonzero(sizes))].tolist()
    axes = figure.subplots(len(clusters), 2 * n + 1, squeeze=False, width_ratios=[*[1] * n, 0.3, *[1] * n])
    for row, k in zip(axes, clusters, strict=True):
        members = np.flatnonzero((cluster == k) & ~np.ma.getmaskarray(difficulty))
        ranked = members[np.argsort(difficulty[members], kind="stable")]
        for ax in row:
            ax.axis("off")
        shown = [*zip(row[:n], ranked[:n], strict=False), *zip(row[:n:-1], ranked[n:][::-1], strict=False)]
        for ax, index in shown:
            ax.imshow(dataset[int(index)][image_column], cmap="gray")
            ax.set_title(f"{difficulty[index]:.2f}", fontsize=7, pad=1)
        row[0].text(-0.15, 0.5, f"cluster {k}", transform=row[0].transAxes, ha="right", va="center", fontsize=8)
    figure.suptitle("Prototypes of a cluster (left)  and its hardest rows (right)", fontsize=11)


def _new_axes() -> "Axes":
    pyplot = require_extra("matplotlib.pyplot", extra="plot", purpose="Plotting")
    axes: Axes = pyplot.figure(figsize=(5, 3.2), layout="constrained").subplots()
    return axes
