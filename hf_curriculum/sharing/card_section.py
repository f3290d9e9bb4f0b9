"""Our section of the card of a scored dataset."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset
from numpy.typing import NDArray

from hf_curriculum._optional import HOME, install_line
from hf_curriculum.data import DIFFICULTY, DISTANCE, fit_split, part, provenance, read_difficulty, read_labels
from hf_curriculum.encoders import POOLINGS
from hf_curriculum.markdown import hub_link, inline, literal, table
from hf_curriculum.scoring import default_measure
from hf_curriculum.sharing.card_advice import advice
from hf_curriculum.sharing.card_examples import first_draws, label_mix, text_column, text_draws, text_examples
from hf_curriculum.sharing.card_merge import BEGIN, END
from hf_curriculum.viewing import encoder_name, scoring_facts, summarize

_MOST_CLUSTERS = 20  # in the table: more are not read
_WIDTH = 100  # of a line of code, which the Hub shows without scrolling
_OPTIONS = {"n_clusters": None, "cluster_range": None, "normalize": "minmax", "seed": 42}
_SCORER_ONLY = {"standardize": True, "l2_normalize": True, "repeats": 1}
_HEADING = """\
## Difficulty for curriculum learning

Each row has a `difficulty`, {measured}. A curriculum draws easy rows first and opens up to the whole dataset.
It was scored by [hf-curriculum]({home}).
"""
_MEASURED = {
    "distance": "low for the prototypes of the dataset and high for what is unlike them: its distance\n"
    "to the prototype of its cluster",
    "margin": "low where it is like its own class alone and high where another class is as near:\n"
    "such labels may be wrong, and `suggested_label` is the class that fits best",
}
_PICTURES = {
    "schedule": (
        "A curve that rises from an effective fraction of 0.3 to 0.63",
        "The share of the dataset that is drawn, over the training.",
    ),
    "difficulty": (
        "Histograms of the difficulties of all rows, and of the first draws",
        "The difficulties, and what the first step draws of them.",
    ),
    "extremes": (
        "Examples of the five largest clusters, the easiest on the left, the hardest on the right",
        "Prototypes of the largest clusters (left) and their hardest rows (right), with their difficulties.",
    ),
    "first": ("Rows of low difficulty", "Rows that are drawn first, with their difficulties."),
}
"""Of each picture its alternative text and its caption."""
_TRAIN = """\
### Train on it

```bash
{install}
```

```python
from datasets import load_dataset
from hf_curriculum import CurriculumTrainer

dataset = {load}
trainer = CurriculumTrainer(model=model, args=args, train_dataset=dataset)
trainer.train()
```
"""
_CITATION = """\
Method: Lin et al., [From Prototypes to General Distributions: An Efficient Curriculum for Masked Image
Modeling](https://arxiv.org/abs/2411.10685), CVPR 2025.
"""


def card_section(
    splits: Mapping[str, Dataset],
    repo_id: str,
    *,
    config_name: str = "default",
    revision: str | None = None,
    pictures: Iterable[str] = (),
    source: str | None = None,
) -> str:
    """What the card says about the scores, Markdown between two markers.

    Args:
        splits: Scored splits by name; clusters are those of ``"train"`` or else the first.
        repo_id: Repository that the card is in, such as ``"me/scored"``.
        config_name: Its configuration with these splits. Default ``"default"``.
        revision: Branch that has them; default the main one.
        pictures: Their paths in the repository: files ``schedule``, ``difficulty``, ``extremes`` and ``first``.
        source: Hub id of the dataset that was scored.

    Returns:
        The section, which ends with its marker. No name that it quotes can end it, or the table that it is in.

    Raises:
        ValueError: If a column of scores is missing, or not what it has to be.
    """
    shown = fit_split(splits)
    record = provenance(splits[shown], DIFFICULTY)
    where = [repo_id] if config_name == "default" else [repo_id, config_name]
    options = {"split": shown} if revision is None else {"split": shown, "revision": revision}
    load = _call_text("load_dataset", [literal(name) for name in where], _literals(options))
    measured = _MEASURED["margin" if record.get("measure") == "margin" else "distance"]
    shows = {PurePosixPath(path).stem: _picture(path) for path in pictures}
    parts = [
        _HEADING.format(measured=measured, home=HOME),
        "### How it was scored\n\n" + table(["", ""], _facts(record, splits, source)),
        f"```python\n{_call(record)}\n```\n" if record else "",
        shows.pop("difficulty", ""),
        f"### Clusters of the split {inline(shown)}\n\n" + _clusters(splits[shown], record),
        shows.pop("extremes", ""),
        _texts(splits[shown], text_examples),
        "### What is drawn first\n\n" + first_draws(splits[shown])[0],
        _texts(splits[shown], _drawn_texts),
        *shows.values(),
        "### What to set\n\n" + advice(splits[shown], record),
        _TRAIN.format(load=load, install=install_line()),
        _CITATION,
    ]
    return "\n".join([BEGIN + "\n", *filter(None, parts), END])


def _picture(path: str) -> str:
    """A picture with its caption."""
    name = PurePosixPath(path).stem
    alternative, caption = _PICTURES[name]
    return f"![{alternative}]({path})\n\n*{caption}*\n"


def _texts(dataset: Dataset, show: Callable[[Dataset, str], str]) -> str:
    column = text_column(dataset)
    return "" if column is None else show(dataset, column)


def _drawn_texts(dataset: Dataset, column: str) -> str:
    return text_draws(dataset, first_draws(dataset)[1], column)


def _facts(record: Mapping[str, Any], splits: Mapping[str, Dataset], source: str | None) -> list[list[str]]:
    """Rows of the table: what was scored and how."""
    encoder = part(record, "embedding")
    rows = {"Rows": inline(", ".join(f"{len(split):,} ({name})" for name, split in splits.items()))}
    facts = {name: inline(value) for name, value in scoring_facts(record).items()}
    if source is not None:
        rows = {"Dataset": hub_link(source, "datasets/"), **rows}
    if _is_of_hub(encoder):
        facts["Encoder"] = hub_link(str(encoder["model_id"]))
    return [[name, value] for name, value in (rows | facts).items()]


def _is_of_hub(encoder: Mapping[str, Any]) -> bool:
    """Whether the record is that of a model of the Hub."""
    return "pooling" in encoder and not encoder.get("local") and encoder.get("model_id") is not None


def _call(record: Mapping[str, Any]) -> str:
    """The Python that scores the dataset so."""
    encoder = part(record, "embedding")
    model = encoder.get("model_id")
    has_name = "pooling" in encoder or str(model).startswith(
        "builtin/"
    )  # else a module or function, known by its name
    settings = {**record, "cluster_range": None, **part(record, "options")}
    if settings.get("cluster_range"):
        settings["cluster_range"] = tuple(settings["cluster_range"])
    by_scorer = bool(record.get("clusterer") or _differing(settings, _SCORER_ONLY))
    default = default_measure(None if by_scorer else record.get("label_column"))
    scorer = _differing({"measure": "distance"} | settings, _OPTIONS | {"measure": default} | _SCORER_ONLY)
    is_local = bool(encoder.get("local"))
    comments = {"model": encoder_name(encoder)} if model and (is_local or not has_name) else {}
    named = literal(f"path/to/{model}" if is_local else model) if has_name else "model"
    arguments = ["dataset", *([named] if model else [])]
    options = _literals(_encoder_options(encoder)) | _literals(
        _differing(settings, {"label_column": None, "duplicates": "keep"})
    )
    lines = []
    if record.get("clusterer"):
        comments["clusterer"] = record["clusterer"]
    if by_scorer:
        clusterer = {"clusterer": "clusterer"} if record.get("clusterer") else {}
        lines.append("scorer = " + _call_text("DifficultyScorer", [], _literals(scorer) | clusterer))
        options["scorer"] = "scorer"
    else:
        options = _literals(scorer) | options
    lines.append("scored = " + _call_text("add_difficulty", arguments, options))
    names = "DifficultyScorer, add_difficulty" if "scorer" in options else "add_difficulty"
    notes = [f"# {name}: {literal(value)}" for name, value in comments.items()]
    return "\n".join([f"from hf_curriculum import {names}", "", *notes, *lines])


def _encoder_options(encoder: Mapping[str, Any]) -> dict[str, Any]:
    """The options of :func:`add_embeddings` that the record has, for a model of the Hub; ``"auto"`` found others."""
    names = ("input_column", "revision", "pooling", "layer", "dtype") if "pooling" in encoder else ("input_column",)
    options = _differing(encoder, dict.fromkeys(names))
    return {name: value for name, value in options.items() if name != "pooling" or value in POOLINGS}


def _differing(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    return {name: settings[name] for name, default in defaults.items() if settings.get(name, default) != default}


def _literals(settings: Mapping[str, Any]) -> dict[str, str]:
    return {name: literal(value) for name, value in settings.items()}


def _call_text(function: str, positional: Sequence[str], options: Mapping[str, str]) -> str:
    """A call on one line, or, if that is too long, on one for each argument."""
    arguments = [*positional, *(f"{name}={value}" for name, value in options.items())]
    line = f"{function}({', '.join(arguments)})"
    return line if len(line) <= _WIDTH else f"{function}(\n    " + ",\n    ".join(arguments) + ",\n)"


def _clusters(dataset: Dataset, record: Mapping[str, Any]) -> str:
    """A table of the largest clusters."""
    distance, summaries = read_difficulty(dataset, DISTANCE), summarize(dataset)
    largest = summaries[:_MOST_CLUSTERS]
    prototypes = np.array([summary.ranked[np.argmin(distance[summary.ranked])] for summary in largest])
    columns: dict[str, Any] = {
        "cluster": [summary.cluster for summary in largest],
        "rows": [f"{summary.ranked.size:,}" for summary in largest],
        "mean difficulty": [f"{summary.mean_difficulty:.3f}" for summary in largest],
        "mean distance": [f"{distance[summary.ranked].mean(dtype=np.float64):.4g}" for summary in largest],
        "row of its prototype": map(str, prototypes),
    }
    label_column = record.get("label_column")
    if label_column in dataset.column_names:
        columns["class"] = map(inline, _class_names(dataset, str(label_column), prototypes))
    if mix := label_mix(dataset, record, [one.cluster for one in largest if one.cluster is not None]):
        columns["labels"] = mix
    rows = [list(map(str, line)) for line in zip(*columns.values(), strict=True)]
    more = len(summaries) - len(largest)
    return table(list(columns), rows) + (
        f"\nThe {len(largest)} largest clusters; there are {more:,} more.\n" if more else ""
    )


def _class_names(dataset: Dataset, column: str, rows: NDArray[np.integer[Any]]) -> list[str]:
    labels, feature = read_labels(dataset, column)[rows].tolist(), dataset.features[column]
    has_names = isinstance(feature, ClassLabel)
    return [feature.int2str(label) if has_names and label >= 0 else str(label) for label in labels]
