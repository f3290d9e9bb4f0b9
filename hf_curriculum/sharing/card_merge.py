"""How our section is put into a card that has an owner."""

import logging
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from datasets import Audio, ClassLabel, Dataset, Features, Image, Value, Video
from datasets.info import DatasetInfosDict
from huggingface_hub import DatasetCard

from hf_curriculum.data import SCORES, SUGGESTED_LABEL

logger = logging.getLogger(__name__)

BEGIN, END = "<!-- hf-curriculum:begin -->", "<!-- hf-curriculum:end -->"
TAGS = ("hf-curriculum", "curriculum-learning")
_SECTION = re.compile(f"{BEGIN}(?:(?!{BEGIN}).)*?{END}", re.DOTALL)
_SIZE = re.compile("<!-- size_categories: (.*?) -->")
_BOUNDS = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T")


def merge_card(
    readme: str,
    section: str,
    features: Features,
    *,
    config_name: str = "default",
    tasks: Sequence[str] = (),
    guessed: Sequence[str] = (),
    title: str | None = None,
    source: str | None = None,
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
        title: Heading of a card that has no text yet; from then on it is the owner's.
        source: Hub id of the dataset that was scored, added to ``source_datasets``.

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
    if source is not None:
        card.data["source_datasets"] = _union(card.data.get("source_datasets"), [source])
    if title is not None and not card.text.strip():
        card.text = f"\n# {title}\n"
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
    features = [feature for name, feature in dataset.features.items() if name not in (*SCORES, SUGGESTED_LABEL)]
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


def _union(present: Any, added: Iterable[str]) -> list[Any]:
    return list(dict.fromkeys([*_as_list(present), *added]))
