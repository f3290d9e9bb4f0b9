"""Figures for notebooks, reports and the demo; they need the ``plot`` extra."""

from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from datasets import Dataset

from hf_curriculum._optional import require_extra
from hf_curriculum.data import DIFFICULTY, read_difficulty, suggesting
from hf_curriculum.training import CurriculumConfig, check_difficulty, curriculum_weights, planned_curve
from hf_curriculum.viewing.summary import ClusterSummary, summarize
from hf_curriculum.viewing.thumbnails import Content, cut, read_row, shown_column

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BLUE = "#2563eb"  # of the report's curves, too
_ORANGE = "#ea580c"  # stands out from it for the colour-blind
_LARGEST = 5  # clusters that are shown unless they are named: more than fit a screen tell no more


@suggesting
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
    ax.plot(steps, planned_curve(steps, config, total_steps), color=_BLUE, linewidth=2)
    if warmup < total_steps:
        ax.axvline(warmup, color="grey", linewidth=1, linestyle=":")
        ax.annotate("uniform from here", (warmup, config.initial_fraction), xytext=(4, 0), textcoords="offset points")
    ax.set(title="Schedule", xlabel="optimiser step", ylabel="effective fraction", ylim=(0, 0.7))
    return ax


@suggesting
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


@suggesting
def show_extremes(
    dataset: Dataset,
    input_column: str | None = None,
    clusters: Sequence[int] | None = None,
    n: int = 6,
    column: str = DIFFICULTY,
) -> "Figure":
    """The easiest and the hardest rows of some clusters, a line a cluster: images, waveforms, or beginnings of texts.

    Args:
        dataset: Scored. Without a ``cluster`` column, all its rows are one cluster.
        input_column: Column of images, audio, video or text. Default the one that was embedded.
        clusters: Clusters to show; default the five largest.
        n: Rows on each side.
        column: Difficulty column.

    Returns:
        A figure.

    Raises:
        ValueError: If a column or a cluster is missing, or there is nothing to show.
    """
    pyplot = require_extra("matplotlib.pyplot", extra="plot", purpose="show_extremes")
    shown = len(_chosen(summarize(dataset, column), clusters))
    figure: Figure = pyplot.figure(figsize=(2.0 * n, 0.4 + 0.95 * shown), layout="constrained")
    pyplot.close(figure)  # else a notebook shows it twice: as what is open, and as what comes back
    draw_extremes(figure, dataset, input_column, clusters, n, column)
    return figure


def draw_extremes(
    figure: Any,
    dataset: Dataset,
    input_column: str | None = None,
    clusters: Sequence[int] | None = None,
    n: int = 6,
    column: str = DIFFICULTY,
) -> None:
    """Draw :func:`show_extremes` on a figure or subfigure that there is.

    Args:
        figure: A matplotlib figure or subfigure.
        dataset: As for :func:`show_extremes`, like all that follows.
        input_column: Column to show.
        clusters: Clusters to show.
        n: Rows on each side.
        column: Difficulty column.

    Raises:
        ValueError: If a column or a cluster is missing, or there is nothing to show.
    """
    shown = shown_column(dataset, input_column, column)
    if shown is None:
        raise ValueError(f"No column of images, audio, video or text to show (columns: {dataset.column_names}).")
    difficulty = read_difficulty(dataset, column)
    chosen = _chosen(summarize(dataset, column), clusters)
    axes = figure.subplots(len(chosen), 2 * n + 1, squeeze=False, width_ratios=[*[1] * n, 0.3, *[1] * n])
    for line, summary in zip(axes, chosen, strict=True):
        for ax in line:
            ax.axis("off")
        easiest, hardest = summary.ranked[:n], summary.ranked[n:][::-1]
        shown_rows = [*zip(line[:n], easiest, strict=False), *zip(line[:n:-1], hardest, strict=False)]
        for ax, row in shown_rows:
            _draw_row(ax, read_row(dataset, int(row), shown))
            ax.set_title(f"{difficulty[row]:.2f}", fontsize=7, pad=1)
        name = "all rows" if summary.cluster is None else f"cluster {summary.cluster}"
        line[0].text(-0.15, 0.5, name, transform=line[0].transAxes, ha="right", va="center", fontsize=8)
    figure.suptitle("Prototypes of a cluster (left)  and its hardest rows (right)", fontsize=11)


def draw_rows(figure: Any, dataset: Dataset, rows: Sequence[int], column: str = DIFFICULTY) -> None:
    """Draw some rows side by side on a figure or subfigure that there is.

    Args:
        figure: A matplotlib figure or subfigure.
        dataset: Has the rows, and a column to show.
        rows: Their numbers, at least one.
        column: Difficulty column.
    """
    shown = shown_column(dataset, None, column)
    assert shown is not None
    difficulty = read_difficulty(dataset, column)
    for ax, row in zip(figure.subplots(1, len(rows), squeeze=False)[0], rows, strict=True):
        ax.axis("off")
        _draw_row(ax, read_row(dataset, row, shown))
        ax.set_title(f"{difficulty[row]:.2f}", fontsize=7, pad=1)


def _chosen(summaries: list[ClusterSummary], clusters: Sequence[int] | None) -> list[ClusterSummary]:
    if clusters is None:
        return summaries[:_LARGEST]
    by_number = {summary.cluster: summary for summary in summaries}
    if unknown := [cluster for cluster in clusters if cluster not in by_number]:
        raise ValueError(f"There are no clusters {unknown}; there are {sorted(by_number, key=str)}.")
    return [by_number[cluster] for cluster in clusters]


def _draw_row(ax: "Axes", content: Content) -> None:
    if isinstance(content, str):
        text = fill(cut(content, 90), 16)
        ax.text(0.5, 0.5, text, ha="center", va="center", fontsize=5, parse_math=False)
    elif isinstance(content, np.ndarray):
        ax.plot(content, color=_BLUE, linewidth=0.3)
    else:
        ax.imshow(content, cmap="gray")


def _new_axes() -> "Axes":
    pyplot = require_extra("matplotlib.pyplot", extra="plot", purpose="Plotting")
    axes: Axes = pyplot.figure(figsize=(5, 3.2), layout="constrained").subplots()
    return axes
