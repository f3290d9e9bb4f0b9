"""Our section of the card of a scored dataset."""

import html
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset
from numpy.typing import NDArray

from hf_curriculum.data import DIFFICULTY, DISTANCE, fit_split, part, provenance, read_difficulty, read_labels
from hf_curriculum.encoders import POOLINGS
from hf_curriculum.sharing.card_merge import BEGIN, END
from hf_curriculum.viewing import encoder_name, scoring_facts, summarize

_MOST_CLUSTERS = 20  # in the table: more are not read
_MOST_CHARACTERS = 200  # of a name that is quoted: it must not fill the card
_WIDTH = 100  # of a line of code, which the Hub shows without scrolling
_OPTIONS = {"n_clusters": None, "cluster_range": None, "normalize": "minmax", "seed": 42, "measure": "distance"}
_SCORER_ONLY = {"standardize": True, "l2_normalize": True, "repeats": 1}
_HEADING = """\
## Difficulty for curriculum learning

Each row has a `difficulty`, {measured}. A curriculum draws easy rows first and opens up to the whole dataset.
"""
_MEASURED = {
    "distance": "low for the prototypes of the dataset and high for what is unlike them: its distance\n"
    "to the prototype of its cluster",
    "margin": "low where it is like its own class alone and high where another class is as near:\n"
    "such labels may be wrong, and `suggested_label` is the class that fits best",
}
_TRAIN = """\
### Train on it

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
) -> str:
    """What the card says about the scores, Markdown between two markers.

    Args:
        splits: Scored splits by name; clusters are those of ``"train"`` or else the first.
        repo_id: Repository that the card is in, such as ``"me/scored"``.
        config_name: Its configuration with these splits. Default ``"default"``.
        revision: Branch that has them; default the main one.
        pictures: Their paths in the repository.

    Returns:
        The section, which ends with its marker. No name that it quotes can end it, or the table that it is in.

    Raises:
        ValueError: If a column of scores is missing, or not what it has to be.
    """
    shown = fit_split(splits)
    record = provenance(splits[shown], DIFFICULTY)
    where = [repo_id] if config_name == "default" else [repo_id, config_name]
    options = {"split": shown} if revision is None else {"split": shown, "revision": revision}
    load = _call_text("load_dataset", [_literal(name) for name in where], _literals(options))
    parts = [
        _HEADING.format(measured=_MEASURED["margin" if record.get("measure") == "margin" else "distance"]),
        "### How it was scored\n\n" + _table(["", ""], _facts(record, splits)),
        f"```python\n{_call(record)}\n```\n" if record else "",
        *(f"![{PurePosixPath(path).stem}]({path})\n" for path in pictures),
        f"### Clusters of the split {_inline(shown)}\n\n" + _clusters(splits[shown], record.get("label_column")),
        _TRAIN.format(load=load),
        _CITATION,
    ]
    return "\n".join([BEGIN + "\n", *filter(None, parts), END])


def _facts(record: Mapping[str, Any], splits: Mapping[str, Dataset]) -> list[list[str]]:
    """Rows of the table: what was scored and how."""
    rows = {"Rows": ", ".join(f"{len(split):,} ({name})" for name, split in splits.items())}
    return [[name, _inline(value)] for name, value in (rows | scoring_facts(record)).items()]


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
    scorer = _differing(settings, _OPTIONS | _SCORER_ONLY)
    is_local = bool(encoder.get("local"))
    comments = {"model": encoder_name(encoder)} if model and (is_local or not has_name) else {}
    named = _literal(f"path/to/{model}" if is_local else model) if has_name else "model"
    arguments = ["dataset", *([named] if model else [])]
    options = _literals(_encoder_options(encoder)) | _literals(
        _differing(settings, {"label_column": None, "duplicates": "keep"})
    )
    lines = []
    if record.get("clusterer"):
        comments["clusterer"] = record["clusterer"]
    if record.get("clusterer") or scorer.keys() & _SCORER_ONLY.keys():
        clusterer = {"clusterer": "clusterer"} if record.get("clusterer") else {}
        lines.append("scorer = " + _call_text("DifficultyScorer", [], _literals(scorer) | clusterer))
        options["scorer"] = "scorer"
    else:
        options = _literals(scorer) | options
    lines.append("scored = " + _call_text("add_difficulty", arguments, options))
    names = "DifficultyScorer, add_difficulty" if "scorer" in options else "add_difficulty"
    notes = [f"# {name}: {_literal(value)}" for name, value in comments.items()]
    return "\n".join([f"from hf_curriculum import {names}", "", *notes, *lines])


def _encoder_options(encoder: Mapping[str, Any]) -> dict[str, Any]:
    """The options of :func:`add_embeddings` that the record has, for a model of the Hub; ``"auto"`` found others."""
    names = ("input_column", "revision", "pooling", "layer", "dtype") if "pooling" in encoder else ("input_column",)
    options = _differing(encoder, dict.fromkeys(names))
    return {name: value for name, value in options.items() if name != "pooling" or value in POOLINGS}


def _differing(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    return {name: settings[name] for name, default in defaults.items() if settings.get(name, default) != default}


def _literals(settings: Mapping[str, Any]) -> dict[str, str]:
    return {name: _literal(value) for name, value in settings.items()}


def _call_text(function: str, positional: Sequence[str], options: Mapping[str, str]) -> str:
    """A call on one line, or, if that is too long, on one for each argument."""
    arguments = [*positional, *(f"{name}={value}" for name, value in options.items())]
    line = f"{function}({', '.join(arguments)})"
    return line if len(line) <= _WIDTH else f"{function}(\n    " + ",\n    ".join(arguments) + ",\n)"


def _clusters(dataset: Dataset, label_column: str | None) -> str:
    """A table of the largest clusters."""
    distance, summaries = read_difficulty(dataset, DISTANCE), summarize(dataset)
    largest = summaries[:_MOST_CLUSTERS]
    prototypes = np.array([summary.ranked[np.argmin(distance[summary.ranked])] for summary in largest])
    columns: dict[str, Any] = {
        "cluster": [summary.cluster for summary in largest],
        "rows": [f"{summary.ranked.size:,}" for summary in largest],
        "mean difficulty": [f"{summary.mean_difficulty:.3f}" for summary in largest],
        "mean distance": [f"{distance[summary.ranked].mean(dtype=np.float64):.4g}" for summary in largest],
        "row of its prototype": prototypes,
    }
    if label_column in dataset.column_names:
        columns["class"] = _class_names(dataset, str(label_column), prototypes)
    table = _table(list(columns), [[_inline(value) for value in line] for line in zip(*columns.values(), strict=True)])
    more = len(summaries) - len(largest)
    return table + (f"\nThe {len(largest)} largest clusters; there are {more:,} more.\n" if more else "")


def _class_names(dataset: Dataset, column: str, rows: NDArray[np.integer[Any]]) -> list[str]:
    labels, feature = read_labels(dataset, column)[rows].tolist(), dataset.features[column]
    has_names = isinstance(feature, ClassLabel)
    return [feature.int2str(label) if has_names and label >= 0 else str(label) for label in labels]


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _inline(value: object) -> str:
    """A name as Markdown text on one line in which nothing has a meaning: no table, code, link, HTML or marker."""
    text = textwrap.shorten(str(value), _MOST_CHARACTERS, placeholder=" ...") or str(value)[:_MOST_CHARACTERS]
    text = re.sub(r"([\\`*_{}\[\]|~$!#@:])", r"\\\1", "".join(filter(str.isprintable, text)))
    return html.escape(text, quote=False)


def _literal(value: object) -> str:
    """A value as Python on one line that holds no HTML, and so none of our markers."""
    text = repr(value).replace("<", "\\x3c")
    return f'"{text[1:-1]}"' if isinstance(value, str) and text[0] == "'" and '"' not in text else text
