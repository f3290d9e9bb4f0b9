"""The card of a scored dataset: our section of it, and how it is put into a card that has an owner."""

import html
import logging
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from datasets import Audio, ClassLabel, Dataset, Features, Image, Value, Video
from datasets.info import DatasetInfosDict
from huggingface_hub import DatasetCard
from numpy.typing import NDArray

from hf_curriculum.card import DIFFICULTIES, space_text
from hf_curriculum.columns import (
    CLUSTER,
    DIFFICULTY,
    DISTANCE,
    fit_split,
    part,
    provenance,
    read_difficulty,
    read_labels,
)
from hf_curriculum.encoders.base import POOLINGS
from hf_curriculum.summary import summarize

logger = logging.getLogger(__name__)

BEGIN, END = "<!-- hf-curriculum:begin -->", "<!-- hf-curriculum:end -->"
TAGS = ("hf-curriculum", "curriculum-learning")
_SECTION = re.compile(f"{BEGIN}(?:(?!{BEGIN}).)*?{END}", re.DOTALL)
_SIZE = re.compile("<!-- size_categories: (.*?) -->")
_BOUNDS = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T")
_MOST_CLUSTERS, _MOST_CHARACTERS, _WIDTH = 20, 200, 100
_OPTIONS = {"n_clusters": None, "cluster_range": None, "normalize": "minmax", "seed": 42}
_SCORER_ONLY = {"standardize": True, "l2_normalize": True, "repeats": 1}
_HEADING = """\
## Difficulty for curriculum learning

Each row has a `difficulty`, low for the prototypes of the dataset and high for what is unlike them: its distance
to the prototype of its cluster. A curriculum draws easy rows first and opens up to the whole dataset.
"""
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
        _HEADING,
        "### How it was scored\n\n" + _table(["", ""], _facts(record, splits)),
        f"```python\n{_call(record)}\n```\n" if record else "",
        *(f"![{PurePosixPath(path).stem}]({path})\n" for path in pictures),
        f"### Clusters of the split {_inline(shown)}\n\n" + _clusters(splits[shown], record.get("label_column")),
        _TRAIN.format(load=load),
        _CITATION,
    ]
    return "\n".join([BEGIN + "\n", *filter(None, parts), END])


def merge_card(
    readme: str,
    section: str,
    features: Features,
    *,
    config_name: str = "default",
    tasks: Sequence[str] = (),
    guessed: Sequence[str] = (),
) -> str:
    """A card with our section and metadata in it, and all else as it is.

    A section that is there is replaced, where it stands; a new one goes to the end. Where the owner deleted one of its
    two markers, nobody can tell the section's words from the owner's: they stay, as the owner's, and a new section
    goes to the end.

    Args:
        readme: The card as it is, with or without metadata in front.
        section: From :func:`card_section`.
        features: Those of the dataset. ``push_to_hub`` of a lone split keeps the features that the card's metadata had
            before, and with them an earlier record of provenance; these take their place.
        config_name: Configuration that they are of. Default ``"default"``.
        tasks: Added to ``task_categories``.
        guessed: Are the ``task_categories`` where there are none.

    Returns:
        The new card. Tags and tasks that are there stay, and so does ``size_categories``, unless it is what an earlier
        section put there.
    """
    card = DatasetCard(readme)
    infos = DatasetInfosDict.from_dataset_card_data(card.data)
    if config_name in infos:
        infos[config_name].features = features
        infos.to_dataset_card_data(card.data)
    size, previous = size_category(_count_rows(card)), _SIZE.findall("".join(_SECTION.findall(card.text)))
    card.data["tags"] = _union(card.data.get("tags"), TAGS)
    if _as_list(card.data.get("size_categories")) in ([], previous[:1]):
        card.data["size_categories"] = [size]
    if wanted := _union(card.data.get("task_categories") or guessed, tasks):
        card.data["task_categories"] = wanted
    section = section.removesuffix(END) + f"<!-- size_categories: {size} -->\n{END}"
    newline = "\r\n" if "\r\n" in card.text else "\n"
    card.text = _replace_section(card.text, section.replace("\n", newline), newline)
    return str(card)


def size_category(rows: int) -> str:
    """The Hub's name for datasets of this size.

    Example:
        >>> size_category(1797)
        '1K<n<10K'
    """
    sizes = [f"n<{_BOUNDS[0]}", *(f"{low}<n<{high}" for low, high in pairwise(_BOUNDS)), f"n>{_BOUNDS[-1]}"]
    return sizes[int(np.searchsorted(10 ** np.arange(3, 13), rows, side="right"))]


def _count_rows(card: DatasetCard) -> int:
    """Rows of all configurations, as ``push_to_hub`` of datasets notes them in the card."""
    splits = [split for info in _as_list(card.data.get("dataset_info")) for split in info.get("splits", [])]
    return sum(split.get("num_examples", 0) for split in splits)


def guess_tasks(dataset: Dataset) -> list[str]:
    """The task that the columns leave no doubt about: one column of classes beside one of media or text.

    Example:
        >>> guess_tasks(Dataset.from_dict({"text": ["a"], "label": [0]}))
        []
    """
    features = [feature for name, feature in dataset.features.items() if name not in (CLUSTER, DISTANCE, DIFFICULTY)]
    inputs = [task for task in map(_input_task, features) if task]
    classes = [feature for feature in features if isinstance(feature, ClassLabel)]
    return inputs if len(inputs) == len(classes) == 1 else []


def _input_task(feature: object) -> str | None:
    kinds = {Image: "image", Audio: "audio", Video: "video"}
    kind = "text" if feature == Value("string") else kinds.get(type(feature))
    return kind and f"{kind}-classification"


def _replace_section(text: str, section: str, newline: str) -> str:
    """The text with the section in the place of the first that is there, or at its end."""
    if found := _SECTION.search(text):
        before, after = text[: found.start()], _SECTION.sub("", text[found.end() :])
        return _without_markers(before) + section + _without_markers(after)
    if BEGIN in text or END in text:
        logger.warning(
            "The card has one of the markers %s and %s without the other. The text beside it stays as it is; the new "
            "section is at the end of the card.",
            BEGIN,
            END,
        )
        text = _without_markers(text)
    if not text.strip():
        return newline + section + newline
    gap = newline * max(0, 2 - (len(text) - len(text.rstrip("\r\n"))) // len(newline))
    return text + gap + section + newline


def _without_markers(text: str) -> str:
    # A lone one would be taken for half of a section the next time, with all that lies between.
    return text.replace(BEGIN, "").replace(END, "")


def _as_list(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]


def _union(there: Any, added: Iterable[str]) -> list[Any]:
    return list(dict.fromkeys([*_as_list(there), *added]))


def _facts(record: Mapping[str, Any], splits: Mapping[str, Dataset]) -> list[list[str]]:
    """Rows of the table: what was scored and how; what is not known is left out."""
    encoder = part(record, "embedding")
    index, outliers, repeats = record.get("davies_bouldin"), record.get("outliers"), record.get("repeats", 1)
    facts = {
        "Rows": ", ".join(f"{len(split):,} ({name})" for name, split in splits.items()),
        "Encoder": encoder.get("model_id"),
        "Its revision": encoder.get("revision"),
        "Input column": encoder.get("input_column"),
        "Pooling": encoder.get("pooling"),
        "Layer": encoder.get("layer"),
        "Prototypes": record.get("n_clusters"),
        "Number of clusters": _choice(record),
        "Davies-Bouldin index": None if index is None else f"{index:.4g}",
        "Rows of clusters too small for a prototype": f"{outliers:,}" if outliers else None,
        "Clustered inside each class of": record.get("label_column"),
        "Embeddings before clustering": space_text(record),
        "Clusterer": record.get("clusterer"),
        "Difficulty": DIFFICULTIES.get(record["normalize"]) if "normalize" in record else None,
        "Mean of clusterings": repeats if repeats > 1 else None,
        "Seed": record.get("seed"),
        "hf-curriculum": record.get("version"),
    }
    return [[name, _inline(value)] for name, value in facts.items() if value not in (None, "")]


def _choice(record: Mapping[str, Any]) -> str | None:
    """How K was chosen."""
    asked, candidates = part(record, "options"), sorted(map(int, part(record, "davies_bouldin_curve")))
    if record.get("clusterer"):
        return None
    if asked.get("n_clusters"):
        return f"{asked['n_clusters']}, given"
    if candidates:
        return f"lowest Davies-Bouldin index of {len(candidates)} candidates, {candidates[0]} to {candidates[-1]}"
    return "lowest Davies-Bouldin index in each class" if record.get("label_column") else None


def _call(record: Mapping[str, Any]) -> str:
    """The Python that scores the dataset so."""
    encoder = part(record, "embedding")
    model = encoder.get("model_id")
    has_name = "pooling" in encoder or str(model).startswith(
        "builtin/"
    )  # else a module or function, known by its name
    settings = {**record, **part(record, "options")}
    if settings.get("cluster_range"):
        settings["cluster_range"] = tuple(settings["cluster_range"])
    scorer = _differing(settings, _OPTIONS | _SCORER_ONLY)
    comments = {} if has_name or not model else {"model": model}
    arguments = ["dataset", *([_literal(model) if has_name else "model"] if model else [])]
    options = _literals(_encoder_options(encoder)) | _literals(_differing(settings, {"label_column": None}))
    lines = []
    if record.get("clusterer"):
        comments["clusterer"] = record["clusterer"]
    if record.get("clusterer") or scorer.keys() & _SCORER_ONLY.keys():
        own = {"clusterer": "clusterer"} if record.get("clusterer") else {}
        lines.append("scorer = " + _call_text("DifficultyScorer", [], _literals(scorer) | own))
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
