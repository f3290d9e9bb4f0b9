"""The model card of a stored scorer."""

import json
from collections.abc import Mapping
from typing import Any

from hf_curriculum.markdown import inline

_CARD = """\
---
library_name: hf-curriculum
tags:
- curriculum-learning
- data-selection
- clustering
---

# Difficulty scorer

Prototypes (k-means centroids of embeddings) that score rows for curriculum learning: {easy}.
It scores other splits and streams by the same measure.

| | |
|---|---|
| Prototypes | {k}{classes} |
| Number of clusters | {choice} |
| Embeddings | {dim} numbers a row{space} |
| Measure | {measure} |
| Difficulty | {difficulty} |
| Davies-Bouldin index | {index} |
| hf-curriculum | {version} |

## Use

```python
from hf_curriculum import DifficultyScorer

scorer = DifficultyScorer.from_pretrained("{source}")
difficulty = scorer.score(embeddings{labels}).difficulty  # of the same encoder, shape (N, {dim})
```

## Fitted on

{trained_on}
"""
DIFFICULTIES = {
    "minmax": "distance to the prototype, from 0 (lowest of the cluster) to 1 (highest)",
    "rank": "rank of the distance in the cluster, from 0 to 1",
    None: "distance to the prototype as it is",
}

_EASY = {
    "distance": "a row near its prototype is easy,\none far from it is hard",
    "margin": "a row that is near to its own class\nalone is easy, one that is as near to another class is hard",
}
_MARGINS = {
    "minmax": ", from 0 (lowest of all rows) to 1 (highest)",
    "rank": ", as its rank among all rows, from 0 to 1",
    None: "",
}


def difficulty_text(config: Mapping[str, Any]) -> str | None:
    """What a difficulty is, from ``measure`` and ``normalize``; ``None`` where that is not known."""
    normalize = config.get("normalize", "")
    if config.get("measure") == "margin" and normalize in _MARGINS:
        return (
            "margin own / (own + other) of the distances to the nearest prototypes of its class and of another one"
            + _MARGINS[normalize]
        )
    return DIFFICULTIES.get(normalize)


def card_text(config: Mapping[str, Any], repo_id: str | None = None) -> str:
    """The card, Markdown with its metadata in front.

    Args:
        config: From :func:`hf_curriculum.scoring.scorer_files.config_of`.
        repo_id: Where it will be found; default a placeholder.

    Returns:
        The text of ``README.md``.
    """
    labels, index = config["centroid_labels_"], config["davies_bouldin_"]
    space = space_text(config)
    return _CARD.format(
        k=config["sizes"][0],
        classes=f" in {len(set(labels))} classes" if labels else "",
        dim=config["dim"],
        choice=inline(config["chosen_by_"] or "not known", 1_000),  # from a file, perhaps of somebody else
        space=f", {space}" if space else "",
        easy=_EASY[config["measure"]],
        measure=config["measure"],
        difficulty=difficulty_text(config),
        index="none" if index is None else f"{float(index):.4g}",
        version=config["version"],
        source=repo_id or "USER/NAME",
        labels=", labels" if labels else "",
        trained_on=_origin(config["trained_on"]),
    )


def space_text(config: Mapping[str, Any]) -> str:
    """What is done to embeddings before they are compared, from ``standardize`` and ``l2_normalize``; may be empty."""
    steps = (("standardised", config.get("standardize")), ("brought to length 1", config.get("l2_normalize")))
    return " and ".join(step for step, on in steps if on)


def _origin(record: Mapping[str, Any] | None) -> str:
    if record is None:
        return "Embeddings whose origin was not given."
    return f"Embeddings with this record:\n\n```json\n{json.dumps(record, indent=2)}\n```"
