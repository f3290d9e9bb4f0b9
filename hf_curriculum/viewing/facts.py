"""How a dataset was scored, in words for people: in the report and in the card."""

from collections.abc import Mapping
from typing import Any

from hf_curriculum.data import part
from hf_curriculum.scoring import difficulty_text, space_text


def scoring_facts(record: Mapping[str, Any]) -> dict[str, str]:
    """What was done, by its name, in the order in which a person asks.

    Args:
        record: From :func:`hf_curriculum.provenance`.

    Returns:
        Texts; what is not known is left out.
    """
    encoder = part(record, "embedding")
    index, outliers, repeats = record.get("davies_bouldin"), record.get("outliers"), record.get("repeats", 1)
    facts = {
        "Encoder": encoder_name(encoder),
        "Its revision": encoder.get("revision"),
        "Input column": encoder.get("input_column"),
        "Pooling": encoder.get("pooling"),
        "Layer": encoder.get("layer"),
        "Prototypes": _counted(record.get("n_clusters")),
        "Number of clusters": _choice(record),
        "Davies-Bouldin index": None if index is None else f"{float(index):.4g}",
        "Rows of clusters too small for a prototype": f"{outliers:,}" if outliers else None,
        "Clustered inside each class of": record.get("label_column"),
        "Embeddings before clustering": space_text(record),
        "Clusterer": record.get("clusterer"),
        "Measure": record.get("measure"),
        "Difficulty": difficulty_text(record),
        "Labels that look wrong, an estimate": _counted(record.get("doubtful_labels")),
        "Rows with the embedding of an earlier row": _copies_text(record),
        "Mean of clusterings": repeats if repeats > 1 else None,
        "Seed": record.get("seed"),
        "hf-curriculum": record.get("version"),
    }
    return {name: str(value) for name, value in facts.items() if value not in (None, "")}


def encoder_name(encoder: Mapping[str, Any]) -> str | None:
    """Its id; of a local one the name of its folder and the hash by which its owner knows it."""
    name = encoder.get("model_id")
    return f"{name}, a local folder, weights {encoder.get('weights')}" if encoder.get("local") else name


def _counted(number: int | None) -> str | None:
    return f"{number:,}" if isinstance(number, int) else None


def _copies_text(record: Mapping[str, Any]) -> str | None:
    copies = _counted(record.get("copies") or None)
    return f"{copies}, without a difficulty" if copies and record.get("duplicates") == "first" else copies


def _choice(record: Mapping[str, Any]) -> str | None:
    """How K was chosen."""
    asked, candidates = part(record, "options"), sorted(map(int, part(record, "davies_bouldin_curve")))
    if record.get("clusterer"):
        return None
    if asked.get("n_clusters"):
        return f"{asked['n_clusters']}, given"
    if isinstance(chosen_by := record.get("chosen_by"), str):
        return chosen_by
    if candidates:
        return f"lowest Davies-Bouldin index of {len(candidates)} candidates, {candidates[0]} to {candidates[-1]}"
    return "lowest Davies-Bouldin index in each class" if record.get("label_column") else None
