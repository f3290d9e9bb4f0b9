"""The report: one HTML file that shows what a scored dataset holds and what a curriculum will draw from it."""

import math
from importlib.resources import files
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from datasets.utils.tqdm import tqdm
from numpy.typing import NDArray

from hf_curriculum._optional import require_extra
from hf_curriculum._version import __version__
from hf_curriculum.data import (
    CLUSTER,
    DIFFICULTY,
    EMBEDDING,
    part,
    provenance,
    read_clusters,
    read_difficulty,
    require_dataset,
    suggesting,
)
from hf_curriculum.files import appears_whole
from hf_curriculum.training import CurriculumConfig, planned_curve
from hf_curriculum.viewing.doubts import Labels, doubts, label_counts, read_classes, strangers
from hf_curriculum.viewing.embedding_map import map_of
from hf_curriculum.viewing.facts import scoring_facts
from hf_curriculum.viewing.preview import expected_draws
from hf_curriculum.viewing.summary import ClusterSummary, summarize
from hf_curriculum.viewing.thumbnails import cut, examples, shown_column

_BINS = 40  # of the histogram of difficulties
_CURVE = 201  # steps on the curve of the schedule: half a per cent of the training apart
_POSITIONS = 61  # of the slider over the training
_DRAWN = 16  # rows that a position shows
_MAPPED = 2_000  # embeddings in the map: t-SNE of many takes long
_CLUSTERS = 100  # that can be looked into: their pictures make the file large
_FIRST = {"easy_first": "the easiest rows", "hard_first": "the hardest rows", "random": "a random part of the rows"}
_EXTREMES = 4  # rows at each end of a cluster
_LISTED = 50  # rows in a list of what to look at
_EXPORTED = 5_000  # doubtful labels whose numbers the page holds
_MIX = 6  # labels of a cluster that are told apart
_LETTERS = 60  # of the name of a label


@suggesting
def report(
    dataset: Dataset,
    path: str | Path = "report.html",
    *,
    curriculum: CurriculumConfig | None = None,
    total_steps: int | None = None,
    input_column: str | None = None,
    embedding_column: str = EMBEDDING,
    title: str = "Difficulty report",
) -> Path:
    """Write one HTML file that shows difficulties, clusters, embeddings, and what the schedule will draw.

    The file needs no network and no other file. Of a large dataset it shows samples, and says so: 2,000 rows in the
    map of the embeddings, 100 clusters with four prototypes and four hardest rows each, 3 s of sound. What rows hold
    is shown as text and never run.

    Args:
        dataset: Scored by :func:`add_difficulty`, or with a difficulty column of your own; what it lacks (clusters,
            embeddings) the report leaves out.
        path: Of the file; its folder is made if it is missing. Default ``"report.html"``.
        curriculum: Its difficulty column is shown, and its schedule previewed. Default the paper's.
        total_steps: Optimiser steps of the training. Default 1,000, or twice the warm-up where that is in steps.
        input_column: Column of images, audio, video or text that shows what a row is. Default the one embedded.
        embedding_column: Column of the embeddings. Default ``"embedding"``.
        title: Heading of the page. Default ``"Difficulty report"``.

    Returns:
        The path.

    Raises:
        TypeError: For a ``DatasetDict`` or a stream.
        ValueError: If the dataset is empty, or a column is missing or of the wrong type.
        ModuleNotFoundError: If the ``report`` extra is not installed.
    """
    offline = require_extra("plotly.offline", extra="report", purpose="The report")
    jinja2 = require_extra("jinja2", extra="report", purpose="The report")
    require_dataset(dataset)
    config = curriculum or CurriculumConfig()
    page = _page(dataset, config, total_steps or _usual_steps(config), input_column, embedding_column)
    templates = files("hf_curriculum.viewing") / "templates"
    template = jinja2.Environment(autoescape=True).from_string((templates / "report.html").read_text("utf-8"))
    html = template.render(
        title=title,
        page=page,
        version=__version__,
        style=(templates / "report.css").read_text("utf-8"),
        script=(templates / "report.js").read_text("utf-8"),
        plotly=offline.get_plotlyjs(),
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with appears_whole(path) as file:
        file.write(html.encode())
    return path


def _usual_steps(config: CurriculumConfig) -> int:
    return 2 * config.warmup_steps if isinstance(config.warmup_steps, int) else 1_000


def _page(
    dataset: Dataset, config: CurriculumConfig, total_steps: int, input_column: str | None, embedding_column: str
) -> dict[str, Any]:
    """All that the page shows, ready for JSON."""
    column = config.difficulty_column or DIFFICULTY
    difficulty = np.ma.masked_array(read_difficulty(dataset, column))
    record = provenance(dataset, column)
    clusters = summarize(dataset, column)
    mapped = _map(dataset, embedding_column, record) if embedding_column in dataset.column_names else None
    page: dict[str, Any] = {
        "column": column,
        "first": _FIRST[config.order],
        "rows": len(dataset),
        "unscored": int(np.ma.getmaskarray(difficulty).sum()),
        "record": _lines(record),
        "facts": scoring_facts(record),
        "schedule": _schedule(difficulty, config, total_steps, mapped["rows"] if mapped else []),
        "sizes": [[summary.cluster, summary.ranked.size, summary.mean_difficulty] for summary in clusters],
        "clusters": [_extremes(summary) for summary in clusters[:_CLUSTERS]],
        "curve": _curve(record),
        "n_clusters": record.get("n_clusters"),
        "map": mapped,
        "hardest": _hardest(difficulty),
        "labels": None,
    }
    if labels := read_classes(dataset, record):
        _add_labels(page, dataset, labels, record, difficulty, embedding_column)
    shown = shown_column(dataset, input_column, column)
    page["examples"] = _examples(dataset, shown, difficulty, page)
    return page


def _curve(record: dict[str, Any]) -> list[tuple[int, float]]:
    """Davies-Bouldin index by number of clusters; clusters that coincide have none."""
    tried = part(record, "davies_bouldin_curve")
    return sorted((int(k), index) for k, index in tried.items() if k.isdecimal() and isinstance(index, float | int))


def _lines(record: dict[str, Any]) -> list[list[str]]:
    """The provenance, a line each; what is not set is left out."""
    flat = {**part(record, "embedding"), **record}
    nested = {"embedding", "options", "davies_bouldin_curve", "quantiles"}
    return [[name, str(value)] for name, value in flat.items() if name not in nested and value is not None]


def _schedule(
    difficulty: NDArray[np.floating], config: CurriculumConfig, total_steps: int, mapped: list[int]
) -> dict[str, Any]:
    scores = np.ma.compressed(difficulty).astype(np.float64)
    counts, edges = np.histogram(scores, _BINS)
    steps = np.unique(np.linspace(0, total_steps, _CURVE).round().astype(int))
    warmup = config.resolve_warmup(total_steps)
    buttons = {"Start": 0, "Half-way up": min(warmup // 2, total_steps), "Uniform": min(warmup, total_steps)}
    stops = expected_draws(
        difficulty, config, total_steps, edges, _POSITIONS, _DRAWN, also=list(buttons.values()), mapped=mapped
    )
    positions = [stop.step for stop in stops]
    return {
        "total_steps": total_steps,
        "warmup_steps": warmup,
        "buttons": {name: positions.index(step) for name, step in buttons.items()},
        "steps": steps.tolist(),
        "planned": planned_curve(steps, config, total_steps).tolist(),
        "edges": edges.tolist(),
        "dataset": (counts / counts.sum()).tolist(),
        "drawn": [
            {
                "step": drawn.step,
                "fraction": drawn.fraction,
                "temperature": drawn.temperature if math.isfinite(drawn.temperature) else None,
                "mean": drawn.mean_difficulty,
                "likeliest": drawn.likeliest,
                "share": drawn.share.tolist(),
                "half": drawn.half,
                "most": drawn.most,
                "rows": drawn.rows.tolist(),
                "chance": np.rint(100 * drawn.chance).astype(int).tolist(),
            }
            for drawn in stops
        ],
    }


def _add_labels(
    page: dict[str, Any],
    dataset: Dataset,
    labels: Labels,
    record: dict[str, Any],
    difficulty: NDArray[np.floating],
    embedding_column: str,
) -> None:
    """What the labels tell: those that look wrong, and those of each cluster."""
    told: dict[str, Any] = {"column": labels.column, "names": [cut(name, _LETTERS) for name in labels.names]}
    page["labels"] = told
    if found := doubts(dataset, labels, embedding_column, record):
        rows = found.rows[:_EXPORTED]
        shown = {*labels.given[rows[:_LISTED]].tolist(), *found.suggested[:_LISTED].tolist()}
        told |= {
            "wrong": rows.tolist(),
            "given": labels.given[rows].tolist(),
            "suggested": found.suggested[:_EXPORTED].tolist(),
            "n_wrong": found.rows.size,
            "estimate": record.get("doubtful_labels"),
            "prototypes": {code: row for code, row in found.prototypes.items() if code in shown},
        }
    if CLUSTER not in dataset.column_names:
        return
    numbers = np.unique([number for number, _, _ in page["sizes"]])
    cluster = np.where(np.ma.getmaskarray(difficulty), -1, read_clusters(dataset))
    cluster = np.where(cluster < 0, -1, np.searchsorted(numbers, cluster))  # positions: numbers may have gaps
    if record.get("label_column") == labels.column:
        return  # each cluster has one
    counts = label_counts(labels, cluster)
    for one in page["clusters"]:
        own = counts[np.searchsorted(numbers, one["cluster"])]
        one["mix"] = [[code, int(own[code])] for code in np.argsort(-own, kind="stable")[:_MIX].tolist() if own[code]]
    odd = strangers(labels, cluster, difficulty)
    listed = odd[:_LISTED]
    told |= {
        "n_strangers": odd.size,
        "strangers": listed.tolist(),
        "own": labels.given[listed].tolist(),
        "usual": counts[cluster[listed]].argmax(1).tolist(),
    }


def _hardest(difficulty: NDArray[np.floating]) -> list[int]:
    rows = np.flatnonzero(~np.ma.getmaskarray(difficulty))
    return rows[np.argsort(-np.ma.compressed(difficulty), kind="stable")][:_LISTED].tolist()


def _extremes(summary: ClusterSummary) -> dict[str, Any]:
    half = min(_EXTREMES, math.ceil(summary.ranked.size / 2))
    hardest = summary.ranked[half:][: -_EXTREMES - 1 : -1]
    return {
        "cluster": summary.cluster,
        "rows": summary.ranked.size,
        "mean": summary.mean_difficulty,
        "easiest": summary.ranked[:half].tolist(),
        "hardest": hardest.tolist(),
    }


def _map(dataset: Dataset, column: str, record: dict[str, Any]) -> dict[str, Any]:
    rows, places = map_of(dataset, column, record, _MAPPED)
    return {"rows": rows.tolist(), "x": places[:, 0].tolist(), "y": places[:, 1].tolist()}


def _examples(
    dataset: Dataset, column: str | None, difficulty: NDArray[np.floating], page: dict[str, Any]
) -> dict[int, dict[str, Any]]:
    """Every row that the page shows, by its number; those of the map alone are silent."""
    clusters = read_clusters(dataset) if CLUSTER in dataset.column_names else None
    drawn = [drawn["rows"] for drawn in page["schedule"]["drawn"]]
    extremes = [one[end] for one in page["clusters"] for end in ("easiest", "hardest")]
    labels = page["labels"] or {}
    listed = [labels.get("wrong", [])[:_LISTED], labels.get("prototypes", {}).values(), labels.get("strangers", [])]
    heard = set(chain(*drawn, *extremes, *listed, page["hardest"]))
    mapped = set(page["map"]["rows"]) if page["map"] else set()
    rows = sorted(heard | mapped)
    others = dataset.remove_columns(page["column"])
    seen = tqdm(examples(others, rows, column, silent=mapped - heard), "Reading rows", len(rows), unit=" rows")
    masked = np.ma.getmaskarray(difficulty)
    return {
        row: {
            "difficulty": None if masked[row] else float(difficulty[row]),
            "cluster": None if clusters is None or clusters[row] < 0 else int(clusters[row]),
            **example,
        }
        for row, example in zip(rows, seen, strict=True)
    }
